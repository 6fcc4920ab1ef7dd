local is_suspended = obj.spec ~= nil and obj.spec.suspend == true
local actions = {}
-- A suspended set is looked at too; nothing is written then.
actions["reconcile"] = { ["disabled"] = false }
actions["suspend"] = { ["disabled"] = is_suspended }
actions["resume"] = { ["disabled"] = not is_suspended }
return actions
