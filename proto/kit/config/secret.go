package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"strings"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// redacted stands for a secret wherever one is printed.
const redacted = "***"

// maxSecret bounds the file of a secret, in bytes.
const maxSecret = 64 << 10

// Secret is a password, key or token. Configurations give it as it is, as file:/path (whose last line end is cut off)
// or as env:NAME; Load resolves that. On a command line only the last two are taken, since anyone can read an argv.
// It prints as *** through fmt, slog, JSON and YAML; keep it in exported fields, because fmt does not ask the values of
// unexported ones how they want to be printed. The zero value is no secret, and prints as such.
type Secret string

// Reveal returns the secret itself, for the one call that needs it.
func (s Secret) Reveal() string { return string(s) }

// String is "***", or "" when there is no secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format implements fmt.Formatter: no verb shows the secret.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON implements json.Marshaler.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalYAML implements the marshaller of YAML packages.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// MarshalText implements encoding.TextMarshaler, for those who ask for that instead.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// hasSecret says whether a t holds secrets.
func hasSecret(t reflect.Type) bool {
	if t == secretType {
		return true
	}
	return (t.Kind() == reflect.Slice || t.Kind() == reflect.Map) && hasSecret(t.Elem())
}

// resolve returns the secret that s refers to.
func (s Secret) resolve(environ []string) (Secret, error) {
	if s == redacted {
		return "", kit.Hint(errors.New("*** is what print-config shows in place of a secret"), "give it as file:/path or env:NAME")
	}
	if name, ok := strings.CutPrefix(string(s), "env:"); ok {
		for _, e := range environ {
			if value, found := strings.CutPrefix(e, name+"="); found {
				return Secret(value), nil
			}
		}
		return "", kit.Hint(fmt.Errorf("environment variable %s is not set", name), "set it, or give the secret as file:/path")
	}
	path, ok := strings.CutPrefix(string(s), "file:")
	if !ok {
		return s, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", kit.Hint(err, "the file of a secret must exist and be readable by this user")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", &fs.PathError{Op: "read", Path: path, Err: errors.Unwrap(err)}
	}
	if len(data) > maxSecret {
		return "", fmt.Errorf("secret file %s: larger than 64 KiB", path)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if text == "" {
		return "", kit.Hint(fmt.Errorf("secret file %s: empty", path), "write the secret into it, on one line")
	}
	return Secret(text), nil
}

// resolveSecrets replaces every reference beneath v by what it refers to.
func resolveSecrets(v reflect.Value, key string, environ []string) error {
	t := v.Type()
	switch {
	case t == secretType:
		s, err := Secret(v.String()).resolve(environ)
		if err != nil {
			return kit.Hint(&Error{Key: key, Place: "secret", Err: err}, kit.HintOf(err))
		}
		v.SetString(string(s))
	case kindOf(t) == structKind:
		for i := range t.NumField() {
			name := t.Field(i).Tag.Get("conf")
			if name == "" || name == "-" {
				continue
			}
			if err := resolveSecrets(v.Field(i), strings.TrimPrefix(key+"."+name, "."), environ); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Slice && (hasSecret(t) || kindOf(t) == structListKind):
		for i := range v.Len() {
			if err := resolveSecrets(v.Index(i), fmt.Sprintf("%s[%d]", key, i), environ); err != nil {
				return err
			}
		}
	case t.Kind() == reflect.Map && t.Elem() == secretType:
		for _, k := range v.MapKeys() {
			s, err := Secret(v.MapIndex(k).String()).resolve(environ)
			if err != nil {
				return kit.Hint(&Error{Key: key + "." + k.String(), Place: "secret", Err: err}, kit.HintOf(err))
			}
			v.SetMapIndex(k, reflect.ValueOf(s))
		}
	}
	return nil
}
