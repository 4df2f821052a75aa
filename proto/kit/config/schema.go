package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
)

type kind int

const (
	leafKind       kind = iota // one flag, one variable
	structKind                 // a level of nesting
	structListKind             // a slice of structs, by YAML only
)

// node is one key of a Config: its children if it is nested, its type if it is a leaf.
type node struct {
	name     string
	path     []string
	help     string
	kind     kind
	typ      reflect.Type
	index    int // of the field in its struct
	children []*node
}

// dotted is the key as it is shown and as it is written for flags.
func (n *node) dotted() string { return strings.Join(n.path, ".") }

// child returns the child of that name, or nil.
func (n *node) child(name string) *node {
	for _, c := range n.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// leaves returns all leaves beneath n in the order of declaration.
func (n *node) leaves() []*node {
	if n.kind == leafKind {
		return []*node{n}
	}
	var all []*node
	if n.kind == structKind {
		for _, c := range n.children {
			all = append(all, c.leaves()...)
		}
	}
	return all
}

var (
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	secretType   = reflect.TypeFor[Secret]()
	durationType = reflect.TypeFor[time.Duration]()
)

// isText says whether a pointer to t parses itself.
func isText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(textType) }

// kindOf classifies a field's type.
func kindOf(t reflect.Type) kind {
	switch {
	case isText(t):
		return leafKind
	case t.Kind() == reflect.Struct:
		return structKind
	case t.Kind() == reflect.Slice && kindOf(t.Elem()) == structKind:
		return structListKind
	}
	return leafKind
}

// schema returns the tree of dst's type. Its errors are mistakes of a programmer.
func schema(dst any) (*node, error) {
	t := reflect.TypeOf(dst)
	if t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct || reflect.ValueOf(dst).IsNil() {
		return nil, fmt.Errorf("load configuration into %T: not a pointer to a struct", dst)
	}
	root := &node{kind: structKind, typ: t.Elem()}
	if err := root.grow(); err != nil {
		return nil, err
	}
	seen := map[string]string{}
	for _, l := range root.leaves() {
		name := envName("", l)
		if other, twice := seen[name]; twice {
			return nil, fmt.Errorf("load configuration into %T: %s and %s share the variable %s", dst, other, l.dotted(), name)
		}
		seen[name] = l.dotted()
	}
	return root, nil
}

// grow adds the children of a node of structs.
func (n *node) grow() error {
	t := n.typ
	if n.kind == structListKind {
		t = t.Elem()
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("conf")
		if name == "" || name == "-" {
			continue
		}
		c := &node{name: name, help: f.Tag.Get("help"), typ: f.Type, kind: kindOf(f.Type), index: i}
		c.path = append(slices.Clone(n.path), name)
		if !f.IsExported() {
			return fmt.Errorf("load configuration: field %s of %s is not exported", f.Name, t)
		}
		if n.child(name) != nil {
			return fmt.Errorf("load configuration: key %s is there twice", c.dotted())
		}
		if c.kind != leafKind {
			if err := c.grow(); err != nil {
				return err
			}
		} else if err := convertible(f.Type); err != nil {
			return fmt.Errorf("load configuration: key %s: %w", c.dotted(), err)
		}
		n.children = append(n.children, c)
	}
	return nil
}

// envName is the variable of a leaf.
func envName(prefix string, n *node) string {
	return prefix + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(strings.Join(n.path, "_")))
}

// unknown is the error for a key that does not exist, with what is near among the known ones as its hint.
func unknown(place, key string, err error, known []string, near string) error {
	hint := ""
	if best := Nearest(near, known); best != "" {
		hint = "did you mean " + best + "?"
	} else if len(known) > 0 && len(known) <= 12 {
		hint = "known here: " + strings.Join(known, ", ")
	} else {
		hint = "print-config shows all keys"
	}
	return kit.Hint(&Error{Key: key, Place: place, Err: err}, hint)
}

// Nearest returns the known word with the smallest edit distance, or "" when none is closer than about a third of the
// word: a hint further off than that misleads.
func Nearest(word string, known []string) string {
	best, least := "", max(2, len(word)/3)+1
	for _, k := range known {
		if d := distance(word, k, least); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the edit distance of Levenshtein between a and b, or limit when it is not below that.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 256 || len(b) > 256 {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return min(row[len(b)], limit)
}
