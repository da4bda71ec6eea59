# What a developer does here; `make help` lists it.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE    ?= lb
FUZZTIME ?= 60s
BENCH    ?=
FAULTS   ?=

.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## serve the demo on http://localhost:8000
	go run ./cmd/lb demo

build: ## static binary in bin/lb
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/lb ./cmd/lb

image: build ## container image, FROM scratch (IMAGE=lb)
	docker build -t $(IMAGE) .

test: ## vet and all tests, with the race detector
	@scripts/test

lint: ## gofmt, vet, staticcheck, govulncheck
	@scripts/lint

fuzz: ## every fuzz target for FUZZTIME=60s
	@FUZZTIME=$(FUZZTIME) scripts/fuzz

bench: ## side by side with nginx and HAProxy (BENCH='-c 1,64 -rounds 3')
	@scripts/deps nginx nginx-stream haproxy wrk
	go run ./bench/side $(BENCH)

faults: ## do harm to lb under load and count what is lost (FAULTS='-run kill')
	go run ./bench/faults $(FAULTS)

bench-micro: ## the codec and the rule lookup alone
	go test -run '^$$' -bench . -benchmem ./proxy/http1/... ./rules/...

clean: ## remove what the other targets left in the tree
	rm -rf bin

.PHONY: help run build image test lint fuzz bench faults bench-micro clean
