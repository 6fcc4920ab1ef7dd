-- Not removed: a manifest that says suspend: false would then differ; one that says nothing does not differ from false.
obj.spec.suspend = false
return obj
