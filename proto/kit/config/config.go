// Package config fills a service's Config from its defaults, one YAML file, the environment and flags, in that order:
// the later wins. What is not known is refused, with the nearest known key as a hint, because a misspelt key that is
// silently ignored is a setting the operator believes in.
//
// In comes a pointer to a struct that holds the defaults, and where to read from; out goes the same struct, filled, or
// one error that names key, value and place. The caller owns both; nothing is kept.
//
// A Config is a struct of exported fields with the tags `conf:"name"` and `help:"text"`. A field may be a string,
// Secret, bool, integer, float, time.Duration, kit.Bytes, anything with UnmarshalText, a slice or a map (keyed by
// string) of those, or a nested struct; a slice of structs can be given by YAML only. A field without a conf tag is not
// configurable, and left as it is. A list or map that is given replaces the default as a whole.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
	"github.com/tapwatch/tapwatch/proto/kit"
)

// maxFile bounds a configuration file, in bytes: it is written by people, and a path to a device or a log must not
// fill the memory.
const maxFile = 1 << 20

// Source says where Load reads from. Each part may be empty.
type Source struct {
	// File is the path of a YAML file; "" means none.
	File string
	// EnvPrefix is what a variable's name begins with, "TAPWATCH_PROBE_"; "" means that the environment is not read.
	// kafka.client_id is then TAPWATCH_PROBE_KAFKA_CLIENT_ID. Every other variable with the prefix is refused, except
	// EnvPrefix+"CONFIG" (it names the file and is for the caller) and those that Kubernetes injects for a Service.
	EnvPrefix string
	// Environ is the environment as os.Environ gives it. It also resolves secrets given as env:NAME.
	Environ []string
	// Flags are those that the function Flags registered, after parsing; others in the set are ignored.
	Flags *pflag.FlagSet
}

// Error is a configuration that cannot be used. It ends the process with exit code 2.
type Error struct {
	Key   string // dotted path, kafka.brokers; "" when the whole source is meant
	Place string // "tapwatch.yaml:12", "environment TAPWATCH_PROBE_SITE" or "flag --site"
	Err   error  // what is wrong; holds the value, unless it is secret
}

// Error names the place, the key and what is wrong.
func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("config %s: %v", e.Place, e.Err)
	}
	return fmt.Sprintf("config %s: %s: %v", e.Place, e.Key, e.Err)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// ExitCode is 2: wrong usage.
func (e *Error) ExitCode() int { return 2 }

// Load fills dst, a pointer to a struct that holds the defaults. On an error (an *Error for everything an operator can
// cause, possibly beneath a hint) dst must not be used.
func Load(dst any, src Source) error {
	root, err := schema(dst)
	if err != nil {
		return err
	}
	// The separator cannot occur in a key that a person types, so map keys with dots stay whole.
	merged := koanf.New("\x1f")
	for _, read := range []func(*node, Source) (layer, error){fileLayer, envLayer, flagLayer} {
		values, err := read(root, src)
		if err != nil {
			return err
		}
		if err := merged.Load(values, nil); err != nil {
			return fmt.Errorf("merge configuration: %w", err)
		}
	}
	// Every value was converted once by its layer, to blame the right place; here it is converted for good. ZeroFields:
	// a given list must not be written into the default's array.
	err = merged.UnmarshalWithConf("", dst, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		TagName:     "conf",
		ZeroFields:  true,
		ErrorUnused: true,
		MatchName:   func(key, field string) bool { return key == field },
		DecodeHook: func(from, to reflect.Value) (any, error) {
			if kindOf(to.Type()) != leafKind || from.Type() == to.Type() {
				return from.Interface(), nil
			}
			v, err := convert(from.Interface(), to.Type())
			if err != nil {
				return nil, err
			}
			return v.Interface(), nil
		},
	}})
	if err != nil {
		return fmt.Errorf("decode configuration: %w", err)
	}
	return resolveSecrets(reflect.ValueOf(dst).Elem(), "", src.Environ)
}

// layer is the nested map of one source. It implements koanf.Provider.
type layer map[string]any

// ReadBytes implements koanf.Provider and is never called: a layer is parsed already.
func (layer) ReadBytes() ([]byte, error) { return nil, errors.ErrUnsupported }

// Read implements koanf.Provider.
func (l layer) Read() (map[string]any, error) { return l, nil }

// set puts a value at a path, making the maps on the way.
func (l layer) set(path []string, value any) {
	at := map[string]any(l)
	for _, name := range path[:len(path)-1] {
		next, ok := at[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[name] = next
		}
		at = next
	}
	at[path[len(path)-1]] = value
}

// readFile returns the content of a configuration file of at most maxFile bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		hint := "check the path given by --config"
		if errors.Is(err, fs.ErrPermission) {
			hint = "the user of this service must be able to read the file"
		}
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, kit.Hint(&Error{Place: path, Err: err}, hint)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, &Error{Place: path, Err: err}
	}
	if len(data) > maxFile {
		return nil, kit.Hint(&Error{Place: path, Err: errors.New("larger than 1 MiB")}, "is this a configuration file?")
	}
	return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), nil
}
