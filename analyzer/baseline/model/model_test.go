package model

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

type tree struct {
	Nodes []int `json:"nodes"`
}

func grown(t tree) error {
	if len(t.Nodes) == 0 {
		return errors.New("no nodes")
	}
	return nil
}

func example() File[tree] {
	day := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	return File[tree]{Kind: "tree", Version: 2, From: day, To: day.AddDate(0, 0, 28), Rows: 672, Seed: 7, Evaluation: map[string]float64{"recall": 0.5}, Model: tree{[]int{1, 2}}}
}

func TestSaveLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.json")
	want := example()
	var texts [2][]byte
	for i := range texts {
		if err := want.Save(path); err != nil {
			t.Fatal(err)
		}
		texts[i], _ = os.ReadFile(path)
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Error("saved twice, the octets differ")
	}
	got, err := Load(path, "tree", 2, grown)
	want.Format = Format
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "no JSON": "x", "another kind": `{"format":1,"kind":"forest","version":2}`, "an old version": `{"format":1,"kind":"tree","version":1,"model":{"nodes":[1]}}`,
		"a newer format": `{"format":9,"kind":"tree","version":2}`, "an empty model": `{"format":1,"kind":"tree","version":2,"model":{}}`,
		"a wrong type": `{"format":1,"kind":"tree","version":2,"model":{"nodes":"a"}}`,
	} {
		if _, err := Read(strings.NewReader(text), "tree", 2, grown); err == nil {
			t.Errorf("%s is read", name)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none"), "tree", 2, grown); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"format":1,"kind":"tree","version":2,"model":{"nodes":[1]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Read(bytes.NewReader(text), "tree", 2, grown)
		if err == nil && len(m.Model.Nodes) == 0 {
			t.Error("an empty model is read")
		}
	})
}
