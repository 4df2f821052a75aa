package config

import (
	"errors"
	"reflect"
	"strings"

	"github.com/spf13/pflag"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// leafFlag is the pflag.Value of one key. It checks what it is given and keeps the text for Load.
type leafFlag struct {
	leaf    *node
	text    string
	changed bool
}

// String is what was given, or the default; never a secret.
func (f *leafFlag) String() string {
	if f.leaf == nil || hasSecret(f.leaf.typ) {
		return ""
	}
	return f.text
}

// Type is the word for the value in a usage text.
func (f *leafFlag) Type() string {
	t := f.leaf.typ
	switch {
	case t == durationType:
		return "duration"
	case t == reflect.TypeFor[kit.Bytes]():
		return "size"
	case hasSecret(t):
		return "file:PATH|env:NAME"
	case isText(t) || t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "bool"
	case t.Kind() == reflect.Slice:
		return "list"
	case t.Kind() == reflect.Map:
		return "name=value,..."
	}
	return "number"
}

// Set implements pflag.Value. A list or map given more than once is joined. A secret is looked at by Load only, since
// pflag shows the value in its error.
func (f *leafFlag) Set(text string) error {
	if _, err := convert(text, f.leaf.typ); err != nil && !hasSecret(f.leaf.typ) {
		return err
	}
	k := f.leaf.typ.Kind()
	if f.changed && (k == reflect.Slice || k == reflect.Map) && !isText(f.leaf.typ) {
		text = f.text + "," + text
	}
	f.text, f.changed = text, true
	return nil
}

// checkSecret refuses a secret that is in the arguments itself.
func (f *leafFlag) checkSecret() error {
	if !hasSecret(f.leaf.typ) {
		return nil
	}
	v, err := convert(f.text, f.leaf.typ)
	if err != nil {
		return err
	}
	return eachSecret(v, func(s Secret) error {
		if s == "" || strings.HasPrefix(string(s), "file:") || strings.HasPrefix(string(s), "env:") {
			return nil
		}
		return kit.Hint(errors.New("everyone can read the arguments of a process"), "give the secret as file:/path or env:NAME")
	})
}

// eachSecret calls f with every secret in the value of a leaf.
func eachSecret(v reflect.Value, f func(Secret) error) error {
	switch v.Kind() {
	case reflect.String:
		return f(Secret(v.String()))
	case reflect.Slice:
		for i := range v.Len() {
			if err := eachSecret(v.Index(i), f); err != nil {
				return err
			}
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			if err := eachSecret(v.MapIndex(k), f); err != nil {
				return err
			}
		}
	}
	return nil
}

// Flags registers one flag for each leaf of dst, a pointer to a struct with the defaults: --kafka.brokers, with the
// text of the help tag. A name that fs has already is left alone, and is then not configurable by flag. dst itself is
// only read. It panics when dst is not a struct that Load takes: that is a mistake of a programmer.
func Flags(fs *pflag.FlagSet, dst any) {
	root, err := schema(dst)
	if err != nil {
		panic(err)
	}
	addFlags(fs, root, reflect.ValueOf(dst).Elem())
}

func addFlags(fs *pflag.FlagSet, n *node, v reflect.Value) {
	for _, c := range n.children {
		field := v.Field(c.index)
		switch c.kind {
		case structKind:
			addFlags(fs, c, field)
		case leafKind:
			if fs.Lookup(c.dotted()) != nil {
				continue
			}
			f := fs.VarPF(&leafFlag{leaf: c, text: textOf(field)}, c.dotted(), "", c.help)
			if c.typ.Kind() == reflect.Bool {
				f.NoOptDefVal = "true"
			}
			if hasSecret(c.typ) || f.DefValue == "0" || f.DefValue == "false" {
				f.DefValue = ""
			}
		}
	}
}
