package enrich

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// mispAttribute is what is read of an attribute (MISP core format, section 2.5).
type mispAttribute struct {
	Type     string `json:"type"`
	Value    string `json:"value"`
	Relation string `json:"object_relation"`
	ToIDS    *bool  `json:"to_ids"`
	Deleted  bool   `json:"deleted"`
}

type mispEvent struct {
	Attribute []mispAttribute `json:"Attribute"`
	Object    []struct {
		Attribute []mispAttribute `json:"Attribute"`
		Deleted   bool            `json:"deleted"`
	} `json:"Object"`
}

// mispFile is an event as exported, as a feed has it, or as a search answers.
type mispFile struct {
	Event     *mispEvent      `json:"Event"`
	Attribute []mispAttribute `json:"Attribute"`
	Response  json.RawMessage `json:"response"`
}

// parseMISP reads one event, a list of them, or a feed: a manifest, which names
// the events in force by their UUID, and a file UUID.json for each.
func parseMISP(docs []document, p *parsed) error {
	var manifest map[string]json.RawMessage
	for _, d := range docs {
		if filepath.Base(d.name) == "manifest.json" {
			if err := json.Unmarshal(trimBOM(d.data), &manifest); err != nil {
				return fmt.Errorf("read manifest.json: %w", err)
			}
		}
	}
	read := 0
	for _, d := range docs {
		base := filepath.Base(d.name)
		if base == "manifest.json" && len(docs) > 1 {
			continue
		}
		if _, named := manifest[strings.TrimSuffix(base, ".json")]; manifest != nil && !named {
			continue
		}
		read++
		if err := parseMISPFile(trimBOM(d.data), p, 0); err != nil {
			return fmt.Errorf("read %s: %w", base, err)
		}
	}
	if read < len(manifest) {
		return fmt.Errorf("the manifest names %d events, %d are there", len(manifest), read)
	}
	return nil
}

func trimBOM(b []byte) []byte { return bytes.TrimSpace(bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))) }

func parseMISPFile(data []byte, p *parsed, depth int) error {
	if depth > 2 {
		return errors.New("nested too deep")
	}
	var files []mispFile
	if len(data) > 0 && data[0] == '[' {
		if err := json.Unmarshal(data, &files); err != nil {
			return err
		}
	} else {
		var f mispFile
		if err := json.Unmarshal(data, &f); err != nil {
			return err
		}
		if f.Event == nil && f.Attribute == nil && f.Response == nil {
			return errors.New("no MISP event in it")
		}
		files = append(files, f)
	}
	for _, f := range files {
		if f.Event != nil {
			p.misp(f.Event.Attribute)
			for _, o := range f.Event.Object {
				if !o.Deleted {
					p.misp(o.Attribute)
				}
			}
		}
		p.misp(f.Attribute)
		if f.Response != nil {
			if err := parseMISPFile(trimBOM(f.Response), p, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// misp takes the attributes that are meant for detection.
func (p *parsed) misp(list []mispAttribute) {
	for _, a := range list {
		if a.Deleted || a.ToIDS != nil && !*a.ToIDS {
			continue
		}
		typ := strings.ToLower(a.Type)
		if typ == "text" && strings.HasPrefix(strings.ToLower(a.Relation), "ja4") {
			typ = "ja4"
		}
		first, second, two := strings.Cut(typ, "|")
		if !two {
			k, value, ok := classifyTyped(typ, a.Value)
			p.add(k, value, ok, 0, 0)
			continue
		}
		x, y, _ := strings.Cut(a.Value, "|")
		k, value, ok := classifyTyped(first, x)
		p.add(k, value, ok, 0, 0)
		if second == "ip" {
			k, value, ok := classifyTyped(second, y)
			p.add(k, value, ok, 0, 0)
		}
	}
}
