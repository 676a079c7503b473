package variant

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// goroot begins the name of a file that is not the module's but Go's own.
const goroot = "GOROOT/"

// Edit replaces Old, which must occur exactly once in File, by New.
type Edit struct {
	// File is relative to the root of the module, or to Go's: "GOROOT/src/time/time.go".
	File     string
	Old, New string
}

// Variant is a daemon that differs from the product.
type Variant struct {
	Name string
	// Breaks says in one sentence which rule is broken.
	Breaks string
	// Property names the property of the checker that must object; empty for a variant
	// that is expected to behave.
	Property string
	// Scene says how real processes bring the breach about.
	Scene string
	Edits []Edit
	// Add are whole new files: content by name, named like Edit.File.
	Add map[string]string
}

// Next is the product under another version: what a rolling upgrade puts in its place.
func Next() Variant {
	return Variant{
		Name:   "next",
		Breaks: "nothing: members of two versions share a cluster",
		Scene:  "every daemon restarted as the other build, one after the other",
		Edits:  []Edit{{File: "cmd/buoy/version.go", Old: `var version = "dev"`, New: `var version = "` + NextVersion + `"`}},
	}
}

// NextVersion is what the daemon of Next calls itself.
const NextVersion = "v-next"

// Build compiles cmd/buoy of the module at root with v's changes to the binary out, in
// the way of a release. The module itself is not touched.
func Build(ctx context.Context, v Variant, root, out string) error {
	dir, err := os.MkdirTemp("", "buoy-variant-")
	if err != nil {
		return fmt.Errorf("variant %s: %w", v.Name, err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := Apply(ctx, v, root, dir)
	if err != nil {
		return err
	}
	if out, err = filepath.Abs(out); err != nil { // go runs in root
		return fmt.Errorf("variant %s: %w", v.Name, err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", overlay,
		"-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, "./cmd/buoy")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("variant %s: go build: %w\n%s", v.Name, err, bytes.TrimSpace(said))
	}
	return nil
}

// Apply writes patched copies of what v changes below dir, with the overlay.json that
// puts them in place of the originals, and returns the path of the latter.
func Apply(ctx context.Context, v Variant, root, dir string) (overlayPath string, err error) {
	p, err := newPatch(ctx, root, dir)
	if err == nil {
		err = p.write(v)
	}
	if err != nil {
		return "", fmt.Errorf("variant %s: %w", v.Name, err)
	}
	return p.overlay(), nil
}

// patch is one Apply.
type patch struct {
	// The roots of the module and of Go, and where the copies go: all absolute, since go
	// runs elsewhere.
	module, golang, dir string
	// copies are where the changed files are, by the originals' paths.
	copies map[string]string
}

func newPatch(ctx context.Context, root, dir string) (*patch, error) {
	module, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "env", "GOROOT")
	cmd.Dir = module // its go.mod may ask for another Go
	said, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	return &patch{module: module, golang: string(bytes.TrimSpace(said)), dir: dir, copies: map[string]string{}}, nil
}

func (p *patch) overlay() string { return filepath.Join(p.dir, "overlay.json") }

func (p *patch) write(v Variant) error {
	if len(v.Edits)+len(v.Add) == 0 {
		return errors.New("it changes nothing")
	}
	for _, e := range v.Edits {
		if err := p.edit(e); err != nil {
			return fmt.Errorf("%s: %w", e.File, err)
		}
	}
	for file, content := range v.Add {
		if err := p.add(file, content); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	data, err := json.MarshalIndent(map[string]any{"Replace": p.copies}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(p.overlay(), data, 0o600)
}

// edit works on the copy, once there is one: a file may have several edits.
func (p *patch) edit(e Edit) error {
	original, err := p.original(e.File)
	if err != nil {
		return err
	}
	source := original
	if edited, ok := p.copies[original]; ok {
		source = edited
	}
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	if e.Old == "" || e.Old == e.New {
		return fmt.Errorf("an edit of %q to %q is none", e.Old, e.New)
	}
	if n := strings.Count(string(text), e.Old); n != 1 {
		return fmt.Errorf("has the text to replace %d times, must have it once: %q", n, e.Old)
	}
	return p.put(e.File, original, strings.Replace(string(text), e.Old, e.New, 1))
}

func (p *patch) add(file, content string) error {
	original, err := p.original(file)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(original); err == nil {
		return errors.New("is to be added, but exists")
	}
	return p.put(file, original, content)
}

// original is where file is, or would be.
func (p *patch) original(file string) (string, error) {
	root, rel := p.module, file
	if inGo, ok := strings.CutPrefix(file, goroot); ok {
		root, rel = p.golang, inGo
	}
	if !filepath.IsLocal(rel) {
		return "", errors.New("is not a path below the module or below " + goroot)
	}
	return filepath.Join(root, rel), nil
}

// put writes the copy that stands for original.
func (p *patch) put(file, original, content string) error {
	path := filepath.Join(p.dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	p.copies[original] = path
	return os.WriteFile(path, []byte(content), 0o600)
}
