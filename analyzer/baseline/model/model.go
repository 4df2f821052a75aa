// Package model keeps trained models as files: one JSON document with what was
// learnt, of which time, from how much, and how well it did on rows that it had not
// seen. A file has no wall clock in it: the same training makes the same octets.
// Nothing is owned.
package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// Format is the version of the files that are written here.
const Format = 1

// maxSize bounds what is read of a file, in octets.
const maxSize = 256 << 20

// File is a model of kind Kind.
type File[T any] struct {
	Format     int                `json:"format"`
	Kind       string             `json:"kind"`    // "host_hours_forest", …
	Version    int                `json:"version"` // of the kind: grows when its features or their order change
	From       time.Time          `json:"trained_from"`
	To         time.Time          `json:"trained_to"` // exclusive
	Rows       int                `json:"trained_rows"`
	Seed       uint64             `json:"seed"`
	Evaluation map[string]float64 `json:"evaluation"` // on rows held back; the kind says what the figures are
	Model      T                  `json:"model"`
}

// Save writes a file in the place of what is there, whole or not at all.
func (f File[T]) Save(path string) error {
	f.Format = Format
	text, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("save model %s: %w", path, err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".model-*")
	if err != nil {
		return fmt.Errorf("save model %s: %w", path, err)
	}
	defer os.Remove(temp.Name()) // is gone after the rename
	if _, err := temp.Write(append(text, '\n')); err != nil {
		temp.Close()
		return fmt.Errorf("save model %s: %w", path, err)
	}
	if err := temp.Sync(); err != nil {
		temp.Close()
		return fmt.Errorf("save model %s: %w", path, err)
	}
	if err := temp.Close(); err != nil {
		return fmt.Errorf("save model %s: %w", path, err)
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return fmt.Errorf("save model %s: %w", path, err)
	}
	return nil
}

// Load reads a file of a kind and version; check says what is wrong with the model.
func Load[T any](path, kind string, version int, check func(T) error) (File[T], error) {
	file, err := os.Open(path)
	if err != nil {
		return File[T]{}, fmt.Errorf("load model %s: %w", path, err)
	}
	defer file.Close()
	f, err := Read(file, kind, version, check)
	if err != nil {
		return f, fmt.Errorf("load model %s: %w", path, err)
	}
	return f, nil
}

// Read is Load from r.
func Read[T any](r io.Reader, kind string, version int, check func(T) error) (File[T], error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return File[T]{}, err
	}
	if len(text) > maxSize {
		return File[T]{}, fmt.Errorf("more than %d octets", maxSize)
	}
	var head File[json.RawMessage]
	if err := json.Unmarshal(text, &head); err != nil {
		return File[T]{}, fmt.Errorf("no model: %w", err)
	}
	if head.Format != Format || head.Kind != kind || head.Version != version {
		return File[T]{}, kit.Hint(fmt.Errorf("format %d, kind %q, version %d; wanted are %d, %q, %d", head.Format, head.Kind, head.Version, Format, kind, version),
			"train it again with this version")
	}
	var f File[T]
	decoder := json.NewDecoder(bytes.NewReader(text))
	if err := decoder.Decode(&f); err != nil {
		return File[T]{}, fmt.Errorf("no model: %w", err)
	}
	if err := check(f.Model); err != nil {
		return File[T]{}, err
	}
	return f, nil
}
