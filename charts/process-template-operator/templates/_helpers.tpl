{{- define "ptset.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 53 characters: the longest ending of ours is ten. */}}
{{- define "ptset.fullname" -}}
{{- $name := include "ptset.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Roles of the cluster: those of releases in other namespaces may have the same name. */}}
{{- define "ptset.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "ptset.fullname" .) -}}
{{- end -}}

{{- define "ptset.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "ptset.fullname" .) -}}
{{- end -}}

{{/* What chooses the operator's pods; it cannot change. */}}
{{- define "ptset.selector" -}}
app.kubernetes.io/name: {{ include "ptset.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Our own. */}}
{{- define "ptset.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "ptset.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: process-template-operator
{{- end -}}

{{/*
The metadata of an object: root, name, and where it has them namespace, component, labels and annotations.
*/}}
{{- define "ptset.metadata" -}}
name: {{ .name | quote }}
{{- with .namespace }}
namespace: {{ . | quote }}
{{- end }}
labels:
  {{- $labels := include "ptset.labels" .root | fromYaml }}
  {{- $labels = set $labels "app.kubernetes.io/component" (.component | default "operator") }}
  {{- /* Others choose by ours, so those of all objects do not replace them. */}}
  {{- toYaml (merge (dict) (.labels | default dict) $labels .root.Values.commonLabels) | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "ptset.image" -}}
{{- with .Values.image -}}
{{- $name := ternary (printf "%s/%s" .registry .repository) .repository (ne .registry "") -}}
{{- if .digest -}}
{{- printf "%s@%s" $name .digest -}}
{{- else -}}
{{- printf "%s:%s" $name (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether the cluster chooses users and groups itself. */}}
{{- define "ptset.adapts" -}}
{{- $how := .Values.adaptSecurityContext -}}
{{- if or (eq $how "Always") (and (eq $how "Auto") (.Capabilities.APIVersions.Has "security.openshift.io/v1")) -}}
true
{{- end -}}
{{- end -}}

{{- define "ptset.securityContext" -}}
{{- $context := .context -}}
{{- if include "ptset.adapts" .root -}}
{{- $context = omit $context "runAsUser" "runAsGroup" "fsGroup" -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{/* Whether an object is made: create, and the kind that the cluster may not have. */}}
{{- define "ptset.creates" -}}
{{- if or (eq .create "Always") (and (eq .create "WhenPresent") (.root.Capabilities.APIVersions.Has .kind)) -}}
true
{{- end -}}
{{- end -}}

{{- define "ptset.hasServiceMonitor" -}}
{{- include "ptset.creates" (dict "root" . "create" .Values.metrics.serviceMonitor.create "kind" "monitoring.coreos.com/v1/ServiceMonitor") -}}
{{- end -}}

{{- define "ptset.hasPodMonitor" -}}
{{- include "ptset.creates" (dict "root" . "create" .Values.metrics.podMonitor.create "kind" "monitoring.coreos.com/v1/PodMonitor") -}}
{{- end -}}

{{/* The label `job` of what Prometheus scrapes of the release; empty where nothing is known to be. */}}
{{- define "ptset.job" -}}
{{- if .Values.metrics.prometheusRule.job -}}
{{- .Values.metrics.prometheusRule.job -}}
{{- else if include "ptset.hasServiceMonitor" . -}}
{{- include "ptset.fullname" . -}}
{{- else if include "ptset.hasPodMonitor" . -}}
{{- printf "%s/%s" .Release.Namespace (include "ptset.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "ptset.trustedConfigMap" -}}
{{- if .Values.trust.caBundle -}}
{{- printf "%s-ca" (include "ptset.fullname" .) -}}
{{- else -}}
{{- .Values.trust.configMap -}}
{{- end -}}
{{- end -}}

{{/* The rules for what the operator works with, in every namespace or in one. */}}
{{- define "ptset.workRules" -}}
# The watches; and the finalizer, which is put on and taken off by a patch of the metadata.
- apiGroups: [cmdb.bk.tencent.com]
  resources: [processtemplatesets]
  verbs: [get, list, watch, patch]
- apiGroups: [cmdb.bk.tencent.com]
  resources: [cmdbconnections]
  verbs: [list, watch]
- apiGroups: [cmdb.bk.tencent.com]
  resources: [processtemplatesets/status, cmdbconnections/status]
  verbs: [update]
- apiGroups: [""]
  resources: [secrets]
{{- if .Values.secrets.names }}
  # Each is read when a connection is used; no other can be.
  resourceNames:
  {{- toYaml .Values.secrets.names | nindent 2 }}
  verbs: [get]
{{- else }}
  # Credentials are read when a connection is used; of the others only the metadata is watched, for their changes.
  verbs: [get, list, watch]
{{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- define "ptset.subjects" -}}
- kind: ServiceAccount
  name: {{ include "ptset.serviceAccountName" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end -}}

{{/* What the operator and the test have in common. */}}
{{- define "ptset.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- toYaml . | nindent 0 }}
{{- end }}
enableServiceLinks: false
securityContext:
  {{- include "ptset.securityContext" (dict "root" $ "context" .Values.podSecurityContext) | nindent 2 }}
{{- if kindIs "bool" .Values.hostUsers }}
hostUsers: {{ .Values.hostUsers }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- with .Values.schedulerName }}
schedulerName: {{ . | quote }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* How CMDB is reached, and whom is trusted. */}}
{{- define "ptset.wayEnv" -}}
{{- with .Values.proxy.http }}
- name: HTTP_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with .Values.proxy.https }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with .Values.proxy.noProxy }}
- name: NO_PROXY
  value: {{ . | quote }}
{{- end }}
{{- if include "ptset.trustedConfigMap" . }}
- name: SSL_CERT_FILE
  value: /etc/ptset/trust/{{ .Values.trust.key }}
{{- end }}
{{- end -}}

{{- define "ptset.trustVolume" -}}
{{- with include "ptset.trustedConfigMap" . }}
- name: trust
  configMap:
    name: {{ . | quote }}
{{- end }}
{{- end -}}

{{- define "ptset.trustMount" -}}
{{- if include "ptset.trustedConfigMap" . }}
- name: trust
  mountPath: /etc/ptset/trust
  readOnly: true
{{- end }}
{{- end -}}

{{- define "ptset.testSelector" -}}
app.kubernetes.io/name: {{ include "ptset.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: test
{{- end -}}

{{/* The TCP port of a URL, or of a proxy that is named without a scheme. */}}
{{- define "ptset.port" -}}
{{- $url := lower . -}}
{{- $port := regexFind "^([a-z]+://)?[^/?#]+" $url | regexFind ":[0-9]+$" | trimPrefix ":" -}}
{{- $port | default (ternary "443" "80" (hasPrefix "https://" $url)) -}}
{{- end -}}

{{/* Where the pods may go: rules; none where there is nothing to go to. A rule without ports would mean every port. */}}
{{- define "ptset.egress" -}}
{{- $policy := .Values.networkPolicy }}
{{- with $policy.dns }}
{{- if .ports }}
- ports:
  {{- range .ports }}
  - {port: {{ . }}, protocol: UDP}
  - {port: {{ . }}, protocol: TCP}
  {{- end }}
  {{- with .to }}
  to:
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}
{{- $named := list }}
{{- range concat .Values.connectionUrls (compact (list .Values.proxy.http .Values.proxy.https)) }}
{{- $named = append $named (include "ptset.port" . | int) }}
{{- end }}
{{- $cmdb := dict "cidrs" $policy.cmdb.cidrs "ports" (concat $policy.cmdb.ports $named) }}
{{- range list $policy.apiServer $cmdb }}
{{- if and .cidrs .ports }}
- ports:
  {{- $ports := list }}
  {{- range .ports }}
  {{- $ports = append $ports (int .) }}
  {{- end }}
  {{- range uniq $ports }}
  - {port: {{ . }}, protocol: TCP}
  {{- end }}
  {{- if not (has "*" .cidrs) }}
  to:
  {{- range .cidrs }}
  - ipBlock: {cidr: {{ . | quote }}}
  {{- end }}
  {{- end }}
{{- end }}
{{- end }}
{{- with $policy.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end -}}
