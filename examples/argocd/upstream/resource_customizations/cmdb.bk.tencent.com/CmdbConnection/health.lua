-- Follows kstatus: the conditions Ready, Reconciling and Stalled, believed only for the generation that they judge.
-- Ready=False alone is not a failure: CMDB may be down or throttle for a while.
local hs = { status = "Progressing", message = "Waiting for the operator" }

local conditions = {}
local observed = nil
if obj.status ~= nil then
  observed = obj.status.observedGeneration
  for _, condition in ipairs(obj.status.conditions or {}) do
    conditions[condition.type] = condition
  end
end
if observed == nil or observed ~= obj.metadata.generation then
  return hs
end

local ready = conditions["Ready"]
local stalled = conditions["Stalled"]
if stalled ~= nil and stalled.status == "True" then
  hs.status = "Degraded"
  hs.message = stalled.reason .. ": " .. stalled.message
elseif ready ~= nil then
  hs.message = ready.message
  if ready.status == "True" then
    hs.status = "Healthy"
  end
end
return hs
