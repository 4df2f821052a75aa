package ops

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tapwatch/tapwatch/proto/kit"
)

// NewLogger returns a logger that writes one line per record to w, from level on ("debug", "info", "warn", "error"; ""
// is info), in the format "text" or "json" ("" is text). Names and agents off the wire end up in logs: whatever is not
// printable, such as the escape sequences of terminals and the overrides of writing direction, is written as \uXXXX.
// Times are UTC.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var min slog.Level
	switch level {
	case "debug":
		min = slog.LevelDebug
	case "", "info":
		min = slog.LevelInfo
	case "warn":
		min = slog.LevelWarn
	case "error":
		min = slog.LevelError
	default:
		return nil, kit.Hint(fmt.Errorf("log level %q: unknown", level), "one of debug, info, warn, error")
	}
	options := &slog.HandlerOptions{Level: min, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
			a.Value = slog.TimeValue(a.Value.Time().UTC())
		}
		return a
	}}
	switch format {
	case "", "text":
		return slog.New(slog.NewTextHandler(lineWriter{w}, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(lineWriter{w}, options)), nil
	}
	return nil, kit.Hint(fmt.Errorf("log format %q: unknown", format), "text or json")
}

// lineWriter escapes what a record holds; slog's handlers write each record with one call, ended by a line feed.
type lineWriter struct{ w io.Writer }

func (l lineWriter) Write(p []byte) (int, error) {
	line, ended := bytes.CutSuffix(p, []byte{'\n'})
	out := Printable(line)
	if ended {
		out = append(out, '\n')
	}
	if _, err := l.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Printable returns text with every character that is not printable, line feeds and bytes that are no UTF-8 included,
// written as \uXXXX, which is also right within a JSON string. The result may share memory with text.
func Printable(text []byte) []byte {
	clean := true
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if !printable(r, size) {
			clean = false
			break
		}
		i += size
	}
	if clean {
		return text[:len(text):len(text)]
	}
	out := make([]byte, 0, len(text)+32)
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case printable(r, size):
			out = append(out, text[i:i+size]...)
		case r == utf8.RuneError && size == 1:
			out = append(out, `\ufffd`...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		i += size
	}
	return out
}

func printable(r rune, size int) bool {
	return unicode.IsPrint(r) && (r != utf8.RuneError || size > 1)
}
