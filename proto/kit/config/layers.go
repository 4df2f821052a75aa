package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	koanfmaps "github.com/knadh/koanf/maps"
	"github.com/spf13/pflag"
	"github.com/tapwatch/tapwatch/proto/kit"
	"go.yaml.in/yaml/v3"
)

// fileLayer reads the YAML file.
func fileLayer(root *node, src Source) (layer, error) {
	if src.File == "" {
		return layer{}, nil
	}
	data, err := readFile(src.File)
	if err != nil {
		return nil, err
	}
	return parseYAML(root, src.File, data)
}

// parseYAML checks a document against the keys beneath root and returns what it gives.
func parseYAML(root *node, file string, data []byte) (layer, error) {
	var document yaml.Node
	raw := map[string]any{}
	err := yaml.Unmarshal(data, &document)
	if err == nil {
		err = document.Decode(&raw)
	}
	if err != nil {
		var te *yaml.TypeError
		if errors.As(err, &te) && len(te.Errors) > 0 {
			err = errors.New(te.Errors[0])
		}
		if len(document.Content) > 0 && document.Content[0].Kind != yaml.MappingNode {
			err = errors.New("not a map of keys") // the library would quote the whole text, secrets and all
		}
		text := quoted.ReplaceAllString(strings.TrimPrefix(err.Error(), "yaml: "), "a value")
		return nil, kit.Hint(&Error{Place: file, Err: fmt.Errorf("not valid YAML: %s", text)}, "print-config shows a valid file")
	}
	koanfmaps.IntfaceKeysToStrings(raw)
	c := checker{file: file, document: &document}
	if err := c.check(root, raw, nil); err != nil {
		return nil, err
	}
	return raw, nil
}

// quoted matches the values that the YAML library quotes in its errors: they may be secret.
var quoted = regexp.MustCompile("(?s)`.*`")

// checker walks a parsed document and knows the lines of it.
type checker struct {
	file     string
	document *yaml.Node
}

// place is the file and line of a path.
func (c checker) place(path []string) string {
	if line := lineOf(c.document, path); line > 0 {
		return fmt.Sprintf("%s:%d", c.file, line)
	}
	return c.file
}

// check refuses what is not known in m and what cannot be converted. It drops empty sections: a section whose keys are
// all commented out leaves the defaults.
func (c checker) check(n *node, m map[string]any, path []string) error {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		at := append(slices.Clone(path), name)
		key := strings.Join(at, ".")
		child, value := n.child(name), m[name]
		if child == nil {
			known := make([]string, len(n.children))
			for i, k := range n.children {
				known[i] = strings.Join(append(slices.Clone(path), k.name), ".")
			}
			return unknown(c.place(at), key, errors.New("unknown key"), known, key)
		}
		fail := func(err error) error {
			return kit.Hint(&Error{Key: key, Place: c.place(at), Err: err}, kit.HintOf(err))
		}
		if value == nil {
			if child.kind != leafKind {
				delete(m, name)
				continue
			}
			return fail(kit.Hint(errors.New("no value"), `write "" or [] for nothing, or remove the line for the default`))
		}
		switch child.kind {
		case structKind:
			sub, ok := value.(map[string]any)
			if !ok {
				return fail(fmt.Errorf("%s where a section with keys belongs", safeShape(child, value)))
			}
			if err := c.check(child, sub, at); err != nil {
				return err
			}
		case structListKind:
			list, ok := value.([]any)
			if !ok {
				return fail(fmt.Errorf("%s where a list of sections belongs", safeShape(child, value)))
			}
			for i, item := range list {
				sub, ok := item.(map[string]any)
				if !ok {
					return fail(fmt.Errorf("element %d: %s where a section belongs", i, safeShape(child, item)))
				}
				if err := c.check(child, sub, append(slices.Clone(at), fmt.Sprint(i))); err != nil {
					return err
				}
			}
		case leafKind:
			if _, err := convert(value, child.typ); err != nil {
				return fail(err)
			}
			if sub, ok := value.(map[string]any); ok {
				m[name] = wholeMap{Map: sub}
			}
		}
	}
	return nil
}

// wholeMap hides the map of a leaf from koanf, so that a later layer replaces it and does not add to it.
type wholeMap struct{ Map map[string]any }

// safeShape describes a value, but does not show one that stands where secrets may be.
func safeShape(n *node, value any) string {
	if _, ok := value.(string); ok && n.anySecret() {
		return "text"
	}
	return shape(value)
}

// anySecret says whether n or a key beneath it is secret.
func (n *node) anySecret() bool {
	return n.kind == leafKind && hasSecret(n.typ) || slices.ContainsFunc(n.children, (*node).anySecret)
}

// lineOf finds the line of a path in a document, or 0.
func lineOf(n *yaml.Node, path []string) int {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	line := 0
	for _, name := range path {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == name {
					next, line = n.Content[i+1], n.Content[i].Line
				}
			}
		case yaml.SequenceNode:
			for i, item := range n.Content {
				if fmt.Sprint(i) == name {
					next, line = item, item.Line
				}
			}
		}
		if next == nil {
			return line
		}
		n = next
	}
	return line
}

// injected matches what Kubernetes puts into every container for a Service of the same name, after the prefix.
var injected = regexp.MustCompile(`^(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// envLayer reads the variables that begin with the prefix.
func envLayer(root *node, src Source) (layer, error) {
	l := layer{}
	if src.EnvPrefix == "" {
		return l, nil
	}
	byName := map[string]*node{}
	for _, leaf := range root.leaves() {
		if leaf.kind == leafKind {
			byName[envName(src.EnvPrefix, leaf)] = leaf
		}
	}
	for _, e := range slices.Sorted(slices.Values(src.Environ)) {
		name, value, _ := strings.Cut(e, "=")
		rest, ours := strings.CutPrefix(name, src.EnvPrefix)
		if !ours || rest == "CONFIG" {
			continue
		}
		leaf := byName[name]
		if leaf == nil {
			if injected.MatchString(rest) {
				continue
			}
			return nil, unknown("environment "+name, "", errors.New("unknown variable"), slices.Sorted(maps.Keys(byName)), name)
		}
		if _, err := convert(value, leaf.typ); err != nil {
			return nil, kit.Hint(&Error{Key: leaf.dotted(), Place: "environment " + name, Err: err}, kit.HintOf(err))
		}
		l.set(leaf.path, value)
	}
	return l, nil
}

// flagLayer reads the flags that were given.
func flagLayer(_ *node, src Source) (layer, error) {
	l := layer{}
	if src.Flags == nil {
		return l, nil
	}
	var wrong error
	src.Flags.Visit(func(f *pflag.Flag) {
		v, ok := f.Value.(*leafFlag)
		if !ok || wrong != nil {
			return
		}
		if err := v.checkSecret(); err != nil {
			wrong = kit.Hint(&Error{Key: v.leaf.dotted(), Place: "flag --" + f.Name, Err: err}, kit.HintOf(err))
			return
		}
		l.set(v.leaf.path, v.text)
	})
	return l, wrong
}
