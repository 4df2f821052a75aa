package config

import (
	"encoding"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/proto/kit"
	"go.yaml.in/yaml/v3"
)

// Print writes cfg, a struct or a pointer to one, as the YAML that Load would read: in the order of declaration, each
// key under its help text, secrets as ***.
func Print(w io.Writer, cfg any) error {
	v := reflect.ValueOf(cfg)
	if v.Kind() != reflect.Pointer {
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		v = p
	}
	root, err := schema(v.Interface())
	if err != nil {
		return err
	}
	encoder := yaml.NewEncoder(w)
	encoder.SetIndent(2)
	if err := encoder.Encode(section(root, v.Elem())); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return encoder.Close()
}

// section is the YAML map of a struct.
func section(n *node, v reflect.Value) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode}
	for _, c := range n.children {
		field := v.Field(c.index)
		var value *yaml.Node
		switch c.kind {
		case structKind:
			value = section(c, field)
		case structListKind:
			value = &yaml.Node{Kind: yaml.SequenceNode}
			for i := range field.Len() {
				value.Content = append(value.Content, section(c, field.Index(i)))
			}
			if field.Len() == 0 {
				value.Style = yaml.FlowStyle
			}
		default:
			value = leafNode(field)
		}
		m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: c.name, HeadComment: c.help}, value)
	}
	if len(m.Content) == 0 {
		m.Style = yaml.FlowStyle
	}
	return m
}

// leafNode is the YAML of one value.
func leafNode(v reflect.Value) *yaml.Node {
	t := v.Type()
	switch {
	case t == secretType || isText(t) || t == durationType:
		return scalar(textOf(v))
	case t.Kind() == reflect.Slice:
		s := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for i := range v.Len() {
			s.Content = append(s.Content, leafNode(v.Index(i)))
		}
		return s
	case t.Kind() == reflect.Map:
		m := &yaml.Node{Kind: yaml.MappingNode}
		if v.Len() == 0 {
			m.Style = yaml.FlowStyle
		}
		for _, k := range sortedKeys(v) {
			m.Content = append(m.Content, scalar(k.String()), leafNode(v.MapIndex(k)))
		}
		return m
	case t.Kind() == reflect.String:
		return scalar(v.String())
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v.Interface())}
}

// scalar is a YAML string, quoted where it would otherwise be read as something else.
func scalar(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	if n.Tag == "!!binary" { // bytes that are not UTF-8: show them, do not encode them
		n.SetString(strings.ToValidUTF8(s, "\uFFFD"))
	}
	return n
}

// textOf is a value as the environment or a flag would give it.
func textOf(v reflect.Value) string {
	t := v.Type()
	if t == secretType {
		return Secret(v.String()).String()
	}
	if t == durationType {
		return kit.FormatDuration(time.Duration(v.Int()))
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	switch t.Kind() {
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = textOf(v.Index(i))
		}
		return strings.Join(parts, ",")
	case reflect.Map:
		var parts []string
		for _, k := range sortedKeys(v) {
			parts = append(parts, k.String()+"="+textOf(v.MapIndex(k)))
		}
		return strings.Join(parts, ",")
	}
	return fmt.Sprint(v.Interface())
}

// sortedKeys are the keys of a map with string keys, in order.
func sortedKeys(v reflect.Value) []reflect.Value {
	keys := map[string]reflect.Value{}
	for _, k := range v.MapKeys() {
		keys[k.String()] = k
	}
	sorted := slices.Sorted(maps.Keys(keys))
	out := make([]reflect.Value, len(sorted))
	for i, name := range sorted {
		out[i] = keys[name]
	}
	return out
}
