package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/diff"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
)

// requestedAt is written with the time of day; its presence is compared, its value is not.
const requestedAt = "cmdb.bk.tencent.com/reconcile-requested-at"

// HealthTests is a health_test.yaml.
type HealthTests struct {
	Tests []struct {
		InputPath    string              `json:"inputPath"`
		HealthStatus health.HealthStatus `json:"healthStatus"`
	} `json:"tests"`
}

// ActionTests is an action_test.yaml.
type ActionTests struct {
	DiscoveryTests []struct {
		InputPath string                    `json:"inputPath"`
		Result    []v1alpha1.ResourceAction `json:"result"`
	} `json:"discoveryTests"`
	ActionTests []struct {
		Action             string `json:"action"`
		InputPath          string `json:"inputPath"`
		ExpectedOutputPath string `json:"expectedOutputPath"`
	} `json:"actionTests"`
}

// runner counts what ran and keeps what differed.
type runner struct {
	scripts, health, discovery, actions int
	failures                            []string
}

func (r *runner) fail(format string, arguments ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, arguments...))
}

// runUpstreamTests runs the tests beside every script of a folder, as Argo CD's own tests run them; and each health test
// again without the open libraries, as a script of a ConfigMap runs.
func runUpstreamTests(root string, output io.Writer) error {
	var r runner
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		folder := filepath.Dir(path)
		switch filepath.Base(path) {
		case "health.lua":
			r.scripts++
			return r.runHealth(folder)
		case "discovery.lua":
			r.scripts++
			return r.runActions(folder)
		case "action.lua":
			r.scripts++
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(output, "upstream tests: scripts=%d health=%d discovery=%d actions=%d failed=%d\n",
		r.scripts, r.health, r.discovery, r.actions, len(r.failures))
	if len(r.failures) > 0 {
		return fmt.Errorf("what differs:\n%s", strings.Join(r.failures, "\n"))
	}
	if r.health == 0 {
		return fmt.Errorf("%s has no test of a health.lua", root)
	}
	return nil
}

func (r *runner) runHealth(folder string) error {
	var tests HealthTests
	if err := read(filepath.Join(folder, "health_test.yaml"), &tests); err != nil {
		return err
	}
	script, err := os.ReadFile(filepath.Join(folder, "health.lua"))
	if err != nil {
		return err
	}
	for _, test := range tests.Tests {
		r.health++
		object, err := readObject(filepath.Join(folder, test.InputPath))
		if err != nil {
			return err
		}
		for _, open := range []bool{true, false} {
			found, err := lua.VM{UseOpenLibs: open}.ExecuteHealthLua(object, string(script))
			if err != nil {
				r.fail("%s/%s: %v", folder, test.InputPath, err)
			} else if *found != test.HealthStatus {
				r.fail("%s/%s: expected %+v, found %+v", folder, test.InputPath, test.HealthStatus, *found)
			}
		}
		r.checkPlace(folder, object)
	}
	return nil
}

// checkPlace: Argo CD finds a script by the folder's names alone.
func (r *runner) checkPlace(folder string, object *unstructured.Unstructured) {
	if place := lua.GetConfigMapKey(object.GroupVersionKind()); !strings.HasSuffix(filepath.ToSlash(folder), "/"+place) {
		r.fail("%s has an object of %s", folder, place)
	}
}

// runActions: folder is "actions"; the tests stand in it.
func (r *runner) runActions(folder string) error {
	var tests ActionTests
	if err := read(filepath.Join(folder, "action_test.yaml"), &tests); err != nil {
		return err
	}
	override, err := readLayout(filepath.Dir(folder))
	if err != nil {
		return err
	}
	actions, err := override.GetActions()
	if err != nil {
		return err
	}
	for _, test := range tests.DiscoveryTests {
		r.discovery++
		object, err := readObject(filepath.Join(folder, test.InputPath))
		if err != nil {
			return err
		}
		r.checkPlace(filepath.Dir(folder), object)
		vm := lua.VM{UseOpenLibs: true}
		found, err := vm.ExecuteResourceActionDiscovery(object, []string{actions.ActionDiscoveryLua})
		if err != nil {
			r.fail("%s/%s: %v", folder, test.InputPath, err)
			continue
		}
		byName := func(a, b v1alpha1.ResourceAction) int { return strings.Compare(a.Name, b.Name) }
		slices.SortFunc(found, byName)
		slices.SortFunc(test.Result, byName)
		if !reflect.DeepEqual(found, test.Result) {
			r.fail("%s/%s: expected %+v, found %+v", folder, test.InputPath, test.Result, found)
		}
	}
	tested := map[string]bool{}
	for _, test := range tests.ActionTests {
		r.actions++
		tested[test.Action] = true
		if err := r.runAction(folder, actions, test.Action, test.InputPath, test.ExpectedOutputPath); err != nil {
			return err
		}
	}
	for _, action := range actions.Definitions {
		if !tested[action.Name] {
			r.fail("%s: no test runs the action %s", folder, action.Name)
		}
	}
	return nil
}

func (r *runner) runAction(folder string, actions v1alpha1.ResourceActions, name, inputPath, expectedPath string) error {
	index := slices.IndexFunc(actions.Definitions, func(action v1alpha1.ResourceActionDefinition) bool { return action.Name == name })
	if index < 0 {
		r.fail("%s: there is no action %s", folder, name)
		return nil
	}
	source, err := readObject(filepath.Join(folder, inputPath))
	if err != nil {
		return err
	}
	expected, err := readObject(filepath.Join(folder, expectedPath))
	if err != nil {
		return err
	}
	impacted, err := lua.VM{}.ExecuteResourceAction(source, actions.Definitions[index].ActionLua, nil)
	if err != nil || len(impacted) != 1 || impacted[0].K8SOperation != lua.PatchOperation {
		r.fail("%s: %s on %s makes no patch: %v %v", folder, name, inputPath, impacted, err)
		return nil
	}
	// Lua gives back each number as a fraction, which this does not mind. In both directions: it does not see additions.
	found := impacted[0].UnstructuredObj
	for _, pair := range [][2]*unstructured.Unstructured{{expected, found}, {found, expected}} {
		result, err := diff.Diff(pair[0], pair[1], diff.WithNormalizer(timeless{}))
		if err != nil {
			return err
		}
		if result.Modified {
			r.fail("%s: %s on %s: %s is not %s", folder, name, inputPath, result.PredictedLive, result.NormalizedLive)
			return nil
		}
	}
	return nil
}

// timeless takes the time of day out of an object.
type timeless struct{}

// Normalize implements diff.Normalizer.
func (timeless) Normalize(object *unstructured.Unstructured) error {
	if object != nil {
		if annotations := object.GetAnnotations(); annotations[requestedAt] != "" {
			annotations[requestedAt] = "0001-01-01T00:00:00Z"
			object.SetAnnotations(annotations)
		}
	}
	return nil
}

func read(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func readObject(path string) (*unstructured.Unstructured, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text, err = yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	object := &unstructured.Unstructured{}
	err = json.NewDecoder(bytes.NewReader(text)).Decode(object)
	return object, err
}
