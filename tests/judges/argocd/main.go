// Command argocd-judge says what Argo CD makes of objects, with Argo CD's own code: health and actions by its Lua engine
// out of the text of an argocd-cm ConfigMap, and whether it would call them out of sync.
//
//	argocd-judge --config CONFIGMAP [--layout DIR] [--crds DIR] <lines >verdicts
//	argocd-judge --upstream-tests DIR
//
// Each line of standard input is {"live": object, "desired": object or absent}; each line of standard output the verdict
// on it. It ends with 1 where a line could not be judged, and says in its verdict why.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	config := flag.String("config", "", "file with the argocd-cm ConfigMap that has the customizations")
	layout := flag.String("layout", "", "folder with the same scripts as Argo CD's repository keeps them: they must judge alike")
	crds := flag.String("crds", "crds", "folder with the CRDs, which the structured merge takes its schema from")
	tests := flag.String("upstream-tests", "", "folder as Argo CD's repository keeps customizations, whose tests are run")
	flag.Parse()
	var err error
	switch {
	case flag.NArg() > 0 || (*config == "") == (*tests == ""):
		err = errors.New("give one of --config and --upstream-tests, and no more arguments")
	case *tests != "":
		err = runUpstreamTests(*tests, os.Stdout)
	default:
		err = judgeLines(*config, *layout, *crds, os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "argocd-judge: %v\n", err)
		os.Exit(1)
	}
}

// Line is one line of standard input.
type Line struct {
	Live    *unstructured.Unstructured `json:"live"`
	Desired *unstructured.Unstructured `json:"desired"`
}

// Verdict is one line of standard output.
type Verdict struct {
	Health    *Health    `json:"health,omitempty"`
	Actions   []Action   `json:"actions"`
	OutOfSync *OutOfSync `json:"outOfSync,omitempty"`
	Error     string     `json:"error,omitempty"`
}

func judgeLines(config, layout, crds string, input io.Reader, output io.Writer) error {
	judge, err := newJudge(config, layout)
	if err != nil {
		return err
	}
	differ := newDiffer(judge.overrides, crds)
	reader := bufio.NewReader(input)
	encoder := json.NewEncoder(output)
	failed := 0
	for number := 1; ; number++ {
		text, readErr := reader.ReadBytes('\n')
		if readErr != nil && !errors.Is(readErr, io.EOF) {
			return readErr
		}
		if len(text) > 1 {
			verdict, err := judgeLine(judge, differ, text)
			if err != nil {
				failed++
				verdict = &Verdict{Actions: []Action{}, Error: fmt.Sprintf("line %d: %v", number, err)}
			}
			if err := encoder.Encode(verdict); err != nil {
				return err
			}
		}
		if readErr != nil {
			break
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d lines could not be judged", failed)
	}
	return nil
}

func judgeLine(judge *Judge, differ *Differ, text []byte) (*Verdict, error) {
	var line Line
	if err := json.Unmarshal(text, &line); err != nil {
		return nil, err
	}
	if line.Live == nil {
		return nil, errors.New("there is no live object")
	}
	health, actions, err := judge.look(line.Live)
	if err != nil {
		return nil, err
	}
	verdict := &Verdict{Health: health, Actions: actions}
	if line.Desired != nil {
		verdict.OutOfSync, err = differ.compare(line.Live, line.Desired)
	}
	return verdict, err
}
