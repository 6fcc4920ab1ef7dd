package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/argo-cd/v3/util/settings"
	log "github.com/sirupsen/logrus"
)

// Health is what Argo CD says of an object.
type Health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// Action is one that Argo CD offers on an object.
type Action struct {
	Name     string `json:"name"`
	Disabled bool   `json:"disabled"`
}

// Judge knows the customizations.
type Judge struct {
	overrides map[string]v1alpha1.ResourceOverride
	layout    string
}

// newJudge reads the ConfigMap as Argo CD does; without one of its own, Argo CD ignores the status of everything.
func newJudge(config, layout string) (*Judge, error) {
	log.SetLevel(log.WarnLevel)
	text, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	var configMap corev1.ConfigMap
	if err := yaml.UnmarshalStrict(text, &configMap); err != nil {
		return nil, fmt.Errorf("%s: %w", config, err)
	}
	if configMap.Name != "argocd-cm" || len(configMap.Data) == 0 {
		return nil, fmt.Errorf("%s is not a ConfigMap argocd-cm with data", config)
	}
	const namespace = "argocd"
	labels := map[string]string{"app.kubernetes.io/part-of": "argocd"}
	configMap.Namespace, configMap.Labels = namespace, labels
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "argocd-secret", Namespace: namespace, Labels: labels},
		Data:       map[string][]byte{"server.secretkey": []byte("offline")},
	}
	// Its informers end with the process.
	manager := settings.NewSettingsManager(context.Background(), fake.NewClientset(&configMap, secret), namespace)
	overrides, err := manager.GetResourceOverrides()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", config, err)
	}
	return &Judge{overrides: overrides, layout: layout}, nil
}

// look gives health and actions; where there is a layout, its scripts must say the same.
func (j *Judge) look(object *unstructured.Unstructured) (*Health, []Action, error) {
	found, actions, err := look(object, j.overrides)
	if err != nil || j.layout == "" {
		return found, actions, err
	}
	override, err := readLayout(filepath.Join(j.layout, lua.GetConfigMapKey(object.GroupVersionKind())))
	if err != nil {
		return nil, nil, err
	}
	// As Argo CD runs what it has built in.
	override.UseOpenLibs = true
	builtIn := map[string]v1alpha1.ResourceOverride{lua.GetConfigMapKey(object.GroupVersionKind()): override}
	foundThere, actionsThere, err := look(object, builtIn)
	if err != nil {
		return nil, nil, err
	}
	if !reflect.DeepEqual(found, foundThere) || !reflect.DeepEqual(actions, actionsThere) {
		return nil, nil, fmt.Errorf("the ConfigMap says %v %v, the layout %v %v", found, actions, foundThere, actionsThere)
	}
	return found, actions, nil
}

func look(object *unstructured.Unstructured, overrides map[string]v1alpha1.ResourceOverride) (*Health, []Action, error) {
	status, err := health.GetResourceHealth(object, lua.ResourceHealthOverrides(overrides))
	if err != nil {
		return nil, nil, err
	}
	var found *Health
	if status != nil {
		found = &Health{Status: string(status.Status), Message: status.Message}
	}
	vm := lua.VM{ResourceOverrides: overrides}
	scripts, err := vm.GetResourceActionDiscovery(object)
	if err != nil {
		return nil, nil, err
	}
	actions := []Action{}
	if len(scripts) == 0 {
		return found, actions, nil
	}
	discovered, err := vm.ExecuteResourceActionDiscovery(object, scripts)
	if err != nil {
		return nil, nil, err
	}
	for _, action := range discovered {
		actions = append(actions, Action{Name: action.Name, Disabled: action.Disabled})
	}
	sort.Slice(actions, func(a, b int) bool { return actions[a].Name < actions[b].Name })
	return found, actions, nil
}

// readLayout reads the scripts of one kind as Argo CD's repository keeps them.
func readLayout(folder string) (v1alpha1.ResourceOverride, error) {
	var override v1alpha1.ResourceOverride
	script, err := os.ReadFile(filepath.Join(folder, "health.lua"))
	if err != nil {
		return override, err
	}
	override.HealthLua = string(script)
	discovery, err := os.ReadFile(filepath.Join(folder, "actions", "discovery.lua"))
	if errors.Is(err, os.ErrNotExist) {
		return override, nil
	}
	if err != nil {
		return override, err
	}
	actions := v1alpha1.ResourceActions{ActionDiscoveryLua: string(discovery)}
	paths, err := filepath.Glob(filepath.Join(folder, "actions", "*", "action.lua"))
	if err != nil {
		return override, err
	}
	for _, path := range paths {
		script, err := os.ReadFile(path)
		if err != nil {
			return override, err
		}
		name := filepath.Base(filepath.Dir(path))
		actions.Definitions = append(actions.Definitions, v1alpha1.ResourceActionDefinition{Name: name, ActionLua: string(script)})
	}
	text, err := yaml.Marshal(actions)
	override.Actions = string(text)
	return override, err
}
