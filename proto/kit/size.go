package kit

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes is a size in bytes, written in configurations as "900kB" or "1GiB": k, M, G and T are powers of 1000, Ki, Mi,
// Gi and Ti powers of 1024 (IEC 80000-13). Zero is no bytes; whether that means "off" or "unbounded" is said by the
// field that uses it. Negative sizes are refused.
type Bytes int64

// byteUnits maps the lower case unit to its factor. "kb" is 1000, never 1024: whoever means 1024 writes the i.
var byteUnits = map[string]float64{
	"": 1, "b": 1,
	"k": 1e3, "kb": 1e3, "ki": 1 << 10, "kib": 1 << 10,
	"m": 1e6, "mb": 1e6, "mi": 1 << 20, "mib": 1 << 20,
	"g": 1e9, "gb": 1e9, "gi": 1 << 30, "gib": 1 << 30,
	"t": 1e12, "tb": 1e12, "ti": 1 << 40, "tib": 1 << 40,
}

// ParseBytes reads a size such as "4096", "900kB", "1.5 GiB". Case does not matter and a blank may stand before the
// unit. A fraction is allowed where the result is a whole number of bytes.
func ParseBytes(text string) (Bytes, error) {
	s := strings.TrimSpace(text)
	i := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if i < 0 {
		i = len(s)
	}
	number, unit := s[:i], strings.ToLower(strings.TrimSpace(s[i:]))
	factor, known := byteUnits[unit]
	if !known || number == "" {
		return 0, fmt.Errorf("%q is not a size, such as 900kB or 1GiB", text)
	}
	if whole, err := strconv.ParseInt(number, 10, 64); err == nil {
		if whole > math.MaxInt64/int64(factor) {
			return 0, fmt.Errorf("size %q is too large", text)
		}
		return Bytes(whole * int64(factor)), nil
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size, such as 900kB or 1GiB", text)
	}
	value *= factor
	if value >= math.MaxInt64 {
		return 0, fmt.Errorf("size %q is too large", text)
	}
	if value != math.Trunc(value) {
		return 0, fmt.Errorf("size %q is not a whole number of bytes", text)
	}
	return Bytes(value), nil
}

// UnmarshalText implements encoding.TextUnmarshaler by way of ParseBytes.
func (b *Bytes) UnmarshalText(text []byte) error {
	v, err := ParseBytes(string(text))
	if err != nil {
		return err
	}
	*b = v
	return nil
}

// MarshalText implements encoding.TextMarshaler; ParseBytes reads it back to the same value.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String is the shortest exact form: the largest unit, binary or decimal, that divides the size.
func (b Bytes) String() string {
	units := []struct {
		factor Bytes
		name   string
	}{
		{1 << 40, "TiB"}, {1e12, "TB"}, {1 << 30, "GiB"}, {1e9, "GB"},
		{1 << 20, "MiB"}, {1e6, "MB"}, {1 << 10, "KiB"}, {1e3, "kB"},
	}
	for _, u := range units {
		if b != 0 && b%u.factor == 0 {
			return strconv.FormatInt(int64(b/u.factor), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// Duration is time.Duration under the name that configurations use; ParseDuration and FormatDuration are its text.
type Duration = time.Duration

// ParseDuration reads what time.ParseDuration reads ("1m30s", "250ms") and also whole or broken days and weeks alone
// ("90d", "2w"; a day is 24 hours). A number without a unit is refused, except 0.
func ParseDuration(text string) (time.Duration, error) {
	s := strings.TrimSpace(text)
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		number, found := strings.CutSuffix(s, suffix)
		if !found {
			continue
		}
		value, err := strconv.ParseFloat(number, 64)
		if err != nil || math.IsNaN(value) {
			break
		}
		if math.Abs(value*float64(unit)) >= math.MaxInt64 {
			return 0, fmt.Errorf("duration %q is too long", text)
		}
		return time.Duration(value * float64(unit)), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration, such as 250ms, 30s, 1h or 90d", text)
	}
	return d, nil
}

// FormatDuration is the short form of d, read back by ParseDuration to the same value: "90d", "1h", "1m30s".
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d != 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
