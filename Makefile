# `make help` lists the targets. What a target lacks it installs first (with apt when run
# as root), and says so.

SHELL := /bin/bash
# HAProxy lives in /usr/sbin, which is not in every user's PATH.
export PATH := $(PATH):/usr/sbin:/sbin

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X main.version=$(VERSION)
LINT     = bin/golangci-lint

.PHONY: build test figures lint demo fmt clean help

build: ## build bin/buoy: static, stripped
	@.ci/need go
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/buoy ./cmd/buoy

demo: build ## run three daemons, HAProxies and a fake cloud here, and break things (ARGS=--keep)
	@.ci/need haproxy
	bin/buoy demo $(ARGS)

test: ## run all tests with the race detector; needs no privileges and no account
	@.ci/need go gcc haproxy python3-digitalocean
	go test -race -timeout 8m ./...

figures: ## measure failover times and idle costs: minutes, on a quiet machine
	@.ci/need go haproxy
	BUOY_FIGURES=1 go test -count=1 -timeout 30m -run '^TestFigures$$' -v ./test

lint: $(LINT) ## run the linters of .golangci.yml
	$(LINT) run ./...

fmt: $(LINT) ## format the code
	$(LINT) fmt

$(LINT): tools/go.mod tools/go.sum
	@.ci/need go
	@echo "make: building golangci-lint as pinned in tools/go.mod (a few minutes, once)"
	go build -C tools -o ../bin/ tool
	@touch $@

clean: ## remove what was built
	rm -rf bin dist

help: ## show this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 10
