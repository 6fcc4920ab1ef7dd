# Everything that is built here is built from source; nothing prebuilt is downloaded.
SHELL := /bin/bash
.DEFAULT_GOAL := help
CLUSTER ?= local
SECONDS ?= 60

.PHONY: help
help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Apply the examples to a local control plane and a simulated CMDB, show the IDs, and end (CLUSTER=current: your cluster)
	@tests/sandbox/run demo $(CLUSTER)

.PHONY: sandbox
sandbox: ## The same control plane, simulator and operator in the foreground, for you to try (CLUSTER=current: your cluster)
	@tests/sandbox/run sandbox $(CLUSTER)

.PHONY: test
test: ## Run every test, against a real control plane
	@tests/run

.PHONY: fuzz
fuzz: ## Feed the operator odd bytes for SECONDS: answers of a CMDB, Secrets, objects
	PTSET_FUZZ_SECONDS=$(SECONDS) cargo test --package process-template-operator --lib -- --show-output fuzz::

.PHONY: judges
judges: ## Ask other tools too: crdify, Helm 4, the oldest and the newest Kubernetes
	@tests/judges/run

.PHONY: test-argocd
test-argocd: ## The real Argo CD: sync waves, health, drift and deletion, with this operator and a simulated CMDB
	@tests/lanes/argocd/run

.PHONY: chart
chart: ## The chart: both Helms, linters, rights, upgrades; alerts and dashboard, by Prometheus over a running operator
	@tests/lanes/chart/run

.PHONY: image
image: ## The image, as an archive in target/image: one static binary from scratch
	@image/build

.PHONY: e2e
e2e: ## The whole story with real pods, on a node that this starts (CLUSTER=current: your cluster)
	@tests/lanes/e2e/run $(CLUSTER)

.PHONY: hostile
hostile: ## A hostile tenant and its CMDB beside a healthy tenant: whether it is harmed, for every behaviour
	@tests/lanes/hostile/run

.PHONY: endure
endure: ## The long tests as a whole: every kill and every cut, all storms, many killed leaders
	@tests/lanes/endure/run

.PHONY: bench
bench: ## Print the performance table
	cargo build --release --package cmdb-sim
	cargo bench --bench load

.PHONY: generate
generate: ## Write every generated file: the CRDs, what the chart and the documentation take from the code
	cargo run --quiet --example generate

.PHONY: lint
lint: ## Check format, lints and licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --test crd_changes --test argocd --test chart --test e2e --test helm --test hostile --test kubernetes_versions --test metrics_asked -- -D warnings
	cargo clippy --package process-template-operator --features otel --lib --bins --test operator -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo deny check bans licenses sources; else echo "cargo-deny is missing: cargo install cargo-deny --locked --version 0.20.2"; exit 1; fi
