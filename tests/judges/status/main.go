// Command status-judge says what GitOps tools read from the status of Kubernetes objects, with the code that those tools
// run: kstatus (Flux, Helm 4, cli-utils) and the checker of conditions that Flux holds its own controllers to.
//
//	status-judge [--in-progress] <objects >judgements
//
// It reads one object a line, as JSON, and writes one judgement a line, in the same order:
//
//	{"kstatus":{"status":"Current","message":"..."},"flux":{"rules":"end of reconcile","failures":[],"warnings":[]}}
//
// Flux has one list of rules for what stands when a reconcile has ended, and another for what is written in its midst;
// --in-progress takes the latter. A line that cannot be judged ends the program with exit code 1.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/pkg/runtime/conditions"
	"github.com/fluxcd/pkg/runtime/conditions/check"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type judgement struct {
	Kstatus kstatusJudgement `json:"kstatus"`
	Flux    fluxJudgement    `json:"flux"`
}

type kstatusJudgement struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type fluxJudgement struct {
	Rules    string   `json:"rules"`
	Failures []string `json:"failures"`
	Warnings []string `json:"warnings"`
}

func main() {
	inProgress := flag.Bool("in-progress", false, "take Flux's rules for a status that is written in the midst of a reconcile")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *inProgress); err != nil {
		fmt.Fprintln(os.Stderr, "status-judge:", err)
		os.Exit(1)
	}
}

func run(objects io.Reader, judgements io.Writer, inProgress bool) error {
	input, output := bufio.NewReader(objects), json.NewEncoder(judgements)
	output.SetEscapeHTML(false)
	for number := 1; ; number++ {
		line, err := input.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		judged, err := judge(bytes.TrimSpace(line), inProgress)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if err := output.Encode(judged); err != nil {
			return err
		}
	}
}

func judge(line []byte, inProgress bool) (*judgement, error) {
	object := &unstructured.Unstructured{}
	// Not json.Unmarshal: it makes a float of every number, and then kstatus cannot read a generation.
	if err := object.UnmarshalJSON(line); err != nil {
		return nil, err
	}
	computed, err := status.Compute(object)
	if err != nil {
		return nil, fmt.Errorf("kstatus: %w", err)
	}
	flux, err := askFlux(object, inProgress)
	if err != nil {
		return nil, fmt.Errorf("flux: %w", err)
	}
	return &judgement{
		Kstatus: kstatusJudgement{Status: computed.Status.String(), Message: computed.Message},
		Flux:    *flux,
	}, nil
}

func askFlux(object *unstructured.Unstructured, inProgress bool) (*fluxJudgement, error) {
	// The checker takes conditions that it cannot read for none.
	read := []metav1.Condition{}
	err := conditions.UnstructuredUnmarshalField(object, &read, "status", "conditions")
	if err != nil && !errors.Is(err, conditions.ErrUnstructuredFieldNotFound) {
		return nil, err
	}
	rules := "end of reconcile"
	checker := check.NewChecker(nil, &check.Conditions{NegativePolarity: []string{"Stalled", "Reconciling"}})
	if inProgress {
		rules = "in progress"
		checker = check.NewInProgressChecker(nil)
	}
	checker.DisableFetch = true
	failed, warned := checker.Check(context.Background(), conditions.UnstructuredGetter(object))
	return &fluxJudgement{Rules: rules, Failures: each(failed), Warnings: each(warned)}, nil
}

// each gives the texts of errors that come as one.
func each(err error) []string {
	texts := []string{}
	var all kerrors.Aggregate
	if errors.As(err, &all) {
		for _, one := range all.Errors() {
			texts = append(texts, one.Error())
		}
	}
	return texts
}
