package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/util/proto"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/yaml"

	"github.com/argoproj/argo-cd/v3/common"
	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/argo/diff"
	"github.com/argoproj/argo-cd/v3/util/argo/normalizers"
)

// OutOfSync tells whether Argo CD would call an object out of sync.
type OutOfSync struct {
	// ThreeWay is the comparison of client-side apply: three-way where the live object carries what was last applied, else two-way.
	ThreeWay bool `json:"threeWay"`
	// StructuredMerge is that of ServerSideApply=true.
	StructuredMerge bool `json:"structuredMerge"`
}

// Differ compares live objects with those that are desired.
type Differ struct {
	overrides map[string]v1alpha1.ResourceOverride
	crds      string
	parser    *managedfields.GvkParser
}

func newDiffer(overrides map[string]v1alpha1.ResourceOverride, crds string) *Differ {
	return &Differ{overrides: overrides, crds: crds}
}

func (d *Differ) compare(live, desired *unstructured.Unstructured) (*OutOfSync, error) {
	if d.parser == nil {
		parser, err := schemaOf(d.crds)
		if err != nil {
			return nil, fmt.Errorf("the schema in %s: %w", d.crds, err)
		}
		d.parser = parser
	}
	threeWay, err := d.isModified(live, desired, false)
	if err != nil {
		return nil, err
	}
	structured, err := d.isModified(live, desired, true)
	return &OutOfSync{ThreeWay: threeWay, StructuredMerge: structured}, err
}

func (d *Differ) isModified(live, desired *unstructured.Unstructured, structured bool) (bool, error) {
	config, err := diff.NewDiffConfigBuilder().
		WithDiffSettings(nil, d.overrides, false, normalizers.IgnoreNormalizerOpts{JQExecutionTimeout: normalizers.DefaultJQExecutionTimeout}).
		WithTracking(common.LabelKeyAppInstance, string(v1alpha1.TrackingMethodAnnotation)).
		WithNoCache().
		WithGVKParser(d.parser).
		WithManager(common.ArgoCDSSAManager).
		WithStructuredMergeDiff(structured).
		Build()
	if err != nil {
		return false, err
	}
	result, err := diff.StateDiff(live, desired, config)
	return result.Modified, err
}

// schemaOf makes of CRDs what Argo CD gets from the API server's OpenAPI document.
func schemaOf(folder string) (*managedfields.GvkParser, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var documents []*spec.Swagger
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(text, &crd); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, version := range crd.Spec.Versions {
			document, err := builder.BuildOpenAPIV2(&crd, version.Name, builder.Options{V2: true})
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			// The API server's document has none in it either.
			document.Definitions = handler.PruneDefaults(document.Definitions)
			documents = append(documents, document)
		}
	}
	if len(documents) == 0 {
		return nil, errors.New("there is no CRD")
	}
	merged, err := builder.MergeSpecs(documents[0], documents[1:]...)
	if err != nil {
		return nil, err
	}
	text, err := merged.MarshalJSON()
	if err != nil {
		return nil, err
	}
	document, err := openapiv2.ParseDocument(text)
	if err != nil {
		return nil, err
	}
	models, err := proto.NewOpenAPIData(document)
	if err != nil {
		return nil, err
	}
	return managedfields.NewGVKParser(models, false)
}
