//! Refusals: error codes and their texts in both message catalogues of CMDB.

use crate::http::gateway;

/// Codes of CMDB, of the ESB and of the gateway.
pub(crate) mod code {
    /// ESB: anything that has no code of its own, credentials above all.
    pub const ESB_COMMON: i64 = 1_306_000;
    /// ESB: no component of that name.
    pub const ESB_COMPONENT_NOT_FOUND: i64 = 1_306_404;
    /// ESB: over the quota.
    pub const ESB_FREQUENCY: i64 = 1_306_429;
    /// Gateway: over the quota.
    pub const GATEWAY_RATE_LIMIT: i64 = 1_642_901;
    /// Gateway: credentials above all.
    pub const GATEWAY_INVALID_ARGUMENTS: i64 = 1_640_001;
    /// Gateway: no resource of this method and path.
    pub const GATEWAY_NOT_FOUND: i64 = 1_640_401;
    /// The body does not decode into the types that the call expects.
    pub const JSON_UNMARSHAL: i64 = 1_199_000;
    /// A daemon could not reach another one.
    pub const REQUEST_FAILED: i64 = 1_199_002;
    /// An update without properties or ID.
    pub const INPUT_INVALID: i64 = 1_199_003;
    /// A parameter or property is not valid.
    pub const PARAMETER_INVALID: i64 = 1_199_006;
    /// A parameter is missing.
    pub const NEED_SET: i64 = 1_199_010;
    /// A unique field is taken.
    pub const DUPLICATE: i64 = 1_199_014;
    /// Nothing has this ID.
    pub const NOT_FOUND: i64 = 1_199_019;
    /// A header that names user or supplier account is missing.
    pub const NOT_AUTHORIZED: i64 = 1_199_027;
    /// More items than one call takes.
    pub const EXCEED_LIMIT: i64 = 1_199_035;
    /// The database refused a query.
    pub const SELECT: i64 = 1_199_017;
    /// `page.limit` is out of its range.
    pub const PAGE_LIMIT: i64 = 1_199_059;
    /// The transaction could not be committed.
    pub const COMMIT_TRANSACTION: i64 = 1_199_066;
    /// An array has too many elements.
    pub const ARRAY_LENGTH: i64 = 1_199_089;
    /// The apiserver's own limit.
    pub const TOO_MANY_REQUESTS: i64 = 1_199_997;
    /// No code fits; the text is the error itself.
    pub const UNKNOWN: i64 = 1_199_998;
    /// Process templates could not be deleted, whatever the cause.
    pub const DELETE_PROCESS_TEMPLATE: i64 = 1_108_014;
    /// A service template could not be deleted, whatever the cause.
    pub const DELETE_SERVICE_TEMPLATE: i64 = 1_108_030;
    /// The process name is taken in this service template.
    pub const PROCESS_NAME_DUPLICATED: i64 = 1_113_019;
    /// The function name and start parameter are taken in this service template.
    pub const FUNCTION_NAME_DUPLICATED: i64 = 1_113_020;
    /// The service category has children.
    pub const CATEGORY_NOT_LEAF: i64 = 1_113_032;
}

/// Message catalogue of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    /// The server's `default` catalogue.
    Chinese,
}

impl Language {
    /// The ESB says `en` unless the caller asks for something else, and CMDB knows no third catalogue.
    pub fn of_esb(header: Option<&str>) -> Self {
        header.map_or(Self::English, |_| Self::of_cmdb(header))
    }

    /// CMDB itself is asked for English or speaks Chinese.
    pub fn of_cmdb(header: Option<&str>) -> Self {
        if header == Some("en") { Self::English } else { Self::Chinese }
    }
}

/// Why a call was refused: a code and the arguments of its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub code: i64,
    arguments: Vec<String>,
    /// A text that is in no catalogue.
    text: Option<String>,
}

impl Refusal {
    pub fn new(code: i64, arguments: &[&str]) -> Self {
        Self { code, arguments: arguments.iter().map(ToString::to_string).collect(), text: None }
    }

    /// A refusal whose text is the same in every language.
    pub fn verbatim(code: i64, text: &str) -> Self {
        Self { code, arguments: Vec::new(), text: Some(text.to_owned()) }
    }

    pub fn undecodable() -> Self {
        Self::new(code::JSON_UNMARSHAL, &[])
    }

    pub fn invalid(field: &str) -> Self {
        Self::new(code::PARAMETER_INVALID, &[field])
    }

    /// More was asked for on a page than there may be.
    pub fn page_limit(suggestion: usize) -> Self {
        Self::new(code::PAGE_LIMIT, &[&suggestion.to_string()])
    }

    pub fn esb(text: &str) -> Self {
        Self::new(code::ESB_COMMON, &[text])
    }

    pub fn gateway(reason: &str) -> Self {
        Self::new(code::GATEWAY_INVALID_ARGUMENTS, &[&format!(" [reason=\"{reason}\"]")])
    }

    /// HTTP status of the reply, if the code alone does not decide it.
    pub fn http_status(&self) -> Option<u16> {
        (self.code == code::NOT_AUTHORIZED).then_some(500)
    }

    pub fn message(&self, language: Language) -> String {
        if let Some(text) = &self.text {
            return text.clone();
        }
        let mut arguments = self.arguments.iter();
        let mut message = String::new();
        let mut rest = default_text(self.code, language);
        while let Some((before, after)) = rest.split_once("%s") {
            message.push_str(before);
            message.push_str(arguments.next().map_or("", String::as_str));
            rest = after;
        }
        message.push_str(rest);
        message
    }
}

/// The text of a code with `%s` where its arguments go.
pub(crate) fn default_text(code: i64, language: Language) -> &'static str {
    let (english, chinese) = match code {
        0 => ("success", "success"),
        code::ESB_COMPONENT_NOT_FOUND => {
            ("Not found, component class not found", "Not found, component class not found")
        }
        1_306_201 | 1_306_203 => ("Request third-party interface error", "Request third-party interface error"),
        1_306_401 => ("You must specify the current operator", "You must specify the current operator"),
        1_306_402 => ("User permission is insufficient", "User permission is insufficient"),
        1_306_403 => ("APP permission is insufficient", "APP permission is insufficient"),
        1_306_406 => ("Parameters error", "Parameters error"),
        code::ESB_FREQUENCY => ("Access frequency limit", "Access frequency limit"),
        code::JSON_UNMARSHAL => ("Deserializing JSON data failed", "反序列化JSON数据失败"),
        code::REQUEST_FAILED => ("HTTP request failed", "HTTP请求失败"),
        code::INPUT_INVALID => ("invalid input parameter", "输入参数无效"),
        code::PARAMETER_INVALID => ("'%s' data parameter verification does not pass", "'%s' 数据参数校验不通过"),
        code::NEED_SET => ("'%s' unassigned", "'%s' 未赋值"),
        code::DUPLICATE => ("duplicated instances exist, fields [%s] duplicated", "数据唯一性校验失败， %s 重复"),
        code::SELECT => ("Failed to query data", "查询数据失败"),
        1_199_018 => ("New data failed", "新加数据失败"),
        code::NOT_FOUND => ("No relevant data found", "未找到相关数据"),
        1_199_020 => ("Failed to update data", "更新数据失败"),
        1_199_021 => ("Failed to delete data", "删除数据失败"),
        code::NOT_AUTHORIZED => ("'%s' authorization information query failed", "[%s]授权信息查询失败"),
        code::EXCEED_LIMIT => (" %s exceed the limit %s", " %s 超过限制 %s"),
        1_199_045 => ("Parse authorize attributes failed.", "解析授权信息失败"),
        1_199_046 => ("Authorize request failed.", "鉴权失败"),
        1_199_047 => ("Do not have access permission.", "没有操作的权限"),
        1_199_058 => ("generate record id failed", "生成记录ID失败"),
        code::PAGE_LIMIT => ("page limit is exceeded. suggestion %s", "分页查询数量超过限制的最大值, 建议值%s"),
        1_199_065 => ("start transcation failed, error:%s", "开启事务失败, 错误:%s"),
        code::COMMIT_TRANSACTION => ("commit transcation failed, error:%s", "提交事务失败, 错误:%s"),
        code::ARRAY_LENGTH => {
            ("%s array length error, array length must be 1~%s", "%s 数组长度错误，数组长度必须为 1~%s")
        }
        // Process templates took over the code of the configuration templates, but not its text.
        code::DELETE_PROCESS_TEMPLATE => ("delete config template failed", "删除配置模板失败"),
        code::DELETE_SERVICE_TEMPLATE => ("delete service template failed", "删除服务模板失败"),
        code::PROCESS_NAME_DUPLICATED => ("process name [%s] unique validation failed", "进程别名[%s]唯一校验失败"),
        code::FUNCTION_NAME_DUPLICATED => (
            "process name [%s] and start parameter [%s] unique validation failed",
            "进程名称[%s]+启动参数[%s]唯一校验失败",
        ),
        code::CATEGORY_NOT_LEAF => ("only leaf node available", "仅允许使用叶子结点服务分类"),
        // The one text of CMDB that is in no catalogue.
        code::TOO_MANY_REQUESTS => ("too many requests", "too many requests"),
        code if gateway::is_own(code) => (gateway::text(code), gateway::text(code)),
        code::UNKNOWN | code::ESB_COMMON => ("%s", "%s"),
        _ => ("Unknown or unrecognized error", "未知或未能识别的异常"),
    };
    match language {
        Language::English => english,
        Language::Chinese => chinese,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_takes_its_arguments_in_order() {
        let refusal = Refusal::new(code::FUNCTION_NAME_DUPLICATED, &["nginx", "%s"]);
        assert_eq!(
            refusal.message(Language::English),
            "process name [nginx] and start parameter [%s] unique validation failed"
        );
        assert_eq!(refusal.message(Language::Chinese), "进程名称[nginx]+启动参数[%s]唯一校验失败");
    }

    #[test]
    fn cmdb_answers_in_chinese_and_the_esb_in_english_by_default() {
        for (header, esb, cmdb) in [
            (None, Language::English, Language::Chinese),
            (Some("en"), Language::English, Language::English),
            (Some("zh-cn"), Language::Chinese, Language::Chinese),
        ] {
            assert_eq!((Language::of_esb(header), Language::of_cmdb(header)), (esb, cmdb));
        }
    }
}
