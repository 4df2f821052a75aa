package config

import (
	"fmt"
	"reflect"
)

// Change is one key whose value differs between two configurations. Old and
// New are as a flag would give them, a Secret as ***.
type Change struct{ Key, Old, New string }

// Changes lists the keys in which two configurations of the same type differ,
// in the order of declaration. A list of structs is one key.
func Changes[C any](old, new C) ([]Change, error) {
	root, err := schema(&old)
	if err != nil {
		return nil, err
	}
	return root.changes(reflect.ValueOf(&old).Elem(), reflect.ValueOf(&new).Elem()), nil
}

func (n *node) changes(old, new reflect.Value) (all []Change) {
	for _, c := range n.children {
		a, b := old.Field(c.index), new.Field(c.index)
		switch {
		case c.kind == structKind:
			all = append(all, c.changes(a, b)...)
		case reflect.DeepEqual(a.Interface(), b.Interface()), a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0:
		case c.kind == structListKind:
			all = append(all, Change{c.dotted(), fmt.Sprintf("%d entries", a.Len()), fmt.Sprintf("%d entries", b.Len())})
		default:
			all = append(all, Change{c.dotted(), textOf(a), textOf(b)})
		}
	}
	return all
}
