-- Follows kstatus: the conditions Ready, Reconciling and Stalled, believed only for the generation that they judge.
-- Ready=False alone is not a failure: CMDB may be down or throttle for a while.
local hs = { status = "Progressing", message = "Waiting for the operator" }

local conditions = {}
local observed = nil
if obj.status ~= nil then
  observed = obj.status.observedGeneration
  for _, condition in ipairs(obj.status.conditions or {}) do
    conditions[condition.type or ""] = condition
  end
end
if observed == nil or observed ~= obj.metadata.generation then
  return hs
end

local ready = conditions["Ready"]
local stalled = conditions["Stalled"]
local reconciling = conditions["Reconciling"]
if reconciling ~= nil and reconciling.status == "True" then
  hs.message = (ready or reconciling).message or hs.message
elseif stalled ~= nil and stalled.status == "True" then
  hs.status = "Degraded"
  hs.message = (stalled.reason or "Stalled") .. ": " .. (stalled.message or "")
elseif ready ~= nil then
  hs.message = ready.message or hs.message
  if ready.status == "True" then
    hs.status = "Healthy"
  end
end
return hs
