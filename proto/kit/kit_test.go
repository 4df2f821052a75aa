package kit

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"
)

func TestHint(t *testing.T) {
	err := fmt.Errorf("start: %w", Hint(fmt.Errorf("open spool: %w", fs.ErrPermission), "run as tapwatch"))
	if got, want := err.Error(), "start: open spool: permission denied"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if got, want := HintOf(err), "run as tapwatch"; got != want {
		t.Errorf("HintOf = %q, want %q", got, want)
	}
	if !errors.Is(err, fs.ErrPermission) {
		t.Error("errors.Is does not see through a hint")
	}
	if got := HintOf(Hint(err, "outer")); got != "outer" {
		t.Errorf("HintOf = %q, want the outermost", got)
	}
	if Hint(nil, "x") != nil || HintOf(nil) != "" || HintOf(fs.ErrExist) != "" {
		t.Error("nil or plain errors must have no hint")
	}
}

func TestParseBytes(t *testing.T) {
	tests := []struct {
		text string
		want Bytes
		ok   bool
	}{
		{"0", 0, true}, {"4096", 4096, true}, {"900kB", 900_000, true}, {"900 KB", 900_000, true}, {"1GiB", 1 << 30, true},
		{"1.5GiB", 3 << 29, true}, {"2Ti", 2 << 40, true}, {" 7 b ", 7, true}, {"0.001kB", 1, true},
		{"9223372036854775807", 9223372036854775807, true},
		{"", 0, false}, {"kB", 0, false}, {"-1", 0, false}, {"1.5", 0, false}, {"1 XB", 0, false}, {"1..5k", 0, false},
		{"9223372036854775808", 0, false}, {"9000000TiB", 0, false}, {"1e3", 0, false},
	}
	for _, tt := range tests {
		got, err := ParseBytes(tt.text)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("ParseBytes(%q) = %d, %v; want %d, ok %v", tt.text, got, err, tt.want, tt.ok)
		}
		if err != nil && !strings.Contains(err.Error(), fmt.Sprintf("%q", tt.text)) {
			t.Errorf("ParseBytes(%q): error %q does not name the value", tt.text, err)
		}
	}
}

func TestParseDuration(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"0", 0, true}, {"30s", 30 * time.Second, true}, {"90d", 90 * 24 * time.Hour, true}, {"1.5d", 36 * time.Hour, true},
		{"2w", 14 * 24 * time.Hour, true}, {"1m30s", 90 * time.Second, true},
		{"30", 0, false}, {"", 0, false}, {"d", 0, false}, {"nand", 0, false}, {"infd", 0, false}, {"1e300d", 0, false}, {"1y", 0, false},
	}
	for _, tt := range tests {
		got, err := ParseDuration(tt.text)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v, ok %v", tt.text, got, err, tt.want, tt.ok)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", time.Minute: "1m", time.Hour: "1h", 36 * time.Hour: "36h", 48 * time.Hour: "2d", 10 * time.Minute: "10m",
		90 * time.Second: "1m30s", time.Hour + time.Second: "1h0m1s", 250 * time.Millisecond: "250ms", 20 * time.Hour: "20h",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%d) = %q, want %q", d, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"1GiB", "1.5 kB", "900kB", "90d", "1m0s", "-3w", "0", "9223372036854775807", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if b, err := ParseBytes(s); err == nil {
			if again, err := ParseBytes(b.String()); err != nil || again != b || b < 0 {
				t.Errorf("ParseBytes(%q) = %d, written %q, read back as %d, %v", s, b, b, again, err)
			}
		}
		if d, err := ParseDuration(s); err == nil {
			if again, err := ParseDuration(FormatDuration(d)); err != nil || again != d {
				t.Errorf("ParseDuration(%q) = %d, written %q, read back as %d, %v", s, d, FormatDuration(d), again, err)
			}
		}
	})
}
