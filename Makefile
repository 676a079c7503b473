# `make help` lists the targets. What a target lacks it installs first (with apt when run
# as root), and says so.

SHELL := /bin/bash
# HAProxy lives in /usr/sbin, which is not in every user's PATH.
export PATH := $(PATH):/usr/sbin:/sbin

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X main.version=$(VERSION)
LINT     = bin/golangci-lint
LAB      = bin/buoy-lab

.PHONY: build test figures lab mutants chaos bench lint demo fmt clean help

build: ## build bin/buoy: static, stripped
	@.ci/need go
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/buoy ./cmd/buoy

demo: build ## run three daemons, HAProxies and a fake cloud here, and break things (ARGS=--keep)
	@.ci/need haproxy
	bin/buoy demo $(ARGS)

test: ## run all tests with the race detector; needs no privileges and no account
	@.ci/need go gcc haproxy curl ip python3-digitalocean $(if $(filter 0,$(shell id -u)),keepalived mkfs.ext4)
	go test -race -timeout 8m ./...

figures: ## measure failover times and idle costs: minutes, on a quiet machine
	@.ci/need go haproxy
	BUOY_FIGURES=1 go test -count=1 -timeout 30m -run '^TestFigures$$' -v ./test

lab: build $(LAB) ## suffer every fault once between network namespaces, and judge (root; ARGS=--short)
	$(LAB) run $(ARGS)

mutants: build $(LAB) ## build broken daemons, each of which the lab's judge must catch (root; ARGS=NAME)
	$(LAB) mutants $(ARGS)

chaos: build $(LAB) ## suffer random faults for 30 minutes, and judge (root; ARGS='--for 5m --seed 42')
	$(LAB) chaos $(ARGS)

bench: build $(LAB) ## measure buoy and keepalived side by side; writes docs/benchmarks.md (root, a quiet machine)
	@.ci/need keepalived
	$(LAB) bench --buoy-version $(VERSION) $(ARGS)

$(LAB): FORCE
	@.ci/need go haproxy mkfs.ext4
	go build -o bin/ ./test/lab/buoy-lab ./test/lab/assign-ip

FORCE:

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
