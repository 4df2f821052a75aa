package query

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// value is a checked value, in the form of its column's kind.
type value struct {
	text string    // Text
	u    uint64    // unsigned Number, Set, MAC, Hash, Flag
	i    int64     // signed Number; Moment: nanoseconds since 1970
	f    float64   // Float
	addr flow.Addr // Address
}

// wrong is what is wrong with a value; the checker adds the place.
type wrong struct{ message, suggest string }

func bad(format string, args ...any) *wrong { return &wrong{message: fmt.Sprintf(format, args...)} }

// valueOf reads one value of a column.
func (c *checker) valueOf(col *Column, s string) (value, *wrong) {
	switch col.Kind {
	case Text:
		return textValue(col, s)
	case Number:
		return c.numberValue(col, s)
	case Float:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return value{}, bad("%s is not a number, as %s needs one", quote(s), col.Name)
		}
		return value{f: f}, nil
	case Address:
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return value{}, bad("%s is not an address, as %s needs one", quote(s), col.Name)
		}
		return value{addr: flow.AddrFrom(a)}, nil
	case MAC:
		lo, hi, ok := macRange(s)
		if !ok || lo != hi {
			return value{}, bad("%s is not a MAC address such as 00:1b:21:3c:9d:f8", quote(s))
		}
		return value{u: lo}, nil
	case Moment:
		t, w := c.moment(s)
		return value{i: t.UnixNano()}, w
	case Flag:
		switch strings.ToLower(s) {
		case "true", "yes", "1":
			return value{u: 1}, nil
		case "false", "no", "0":
			return value{}, nil
		}
		return value{}, bad("%s is neither true nor false", quote(s))
	case Set:
		return setValue(col, s)
	case Hash:
		sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "1:"))
		if err != nil || len(sum) != 20 || !strings.HasPrefix(s, "1:") {
			return value{}, bad("%s is not a Community ID, 1: and 28 characters of base64", quote(s))
		}
		return value{u: binary.BigEndian.Uint64(sum)}, nil
	}
	panic("query: kind without values")
}

func textValue(col *Column, s string) (value, *wrong) {
	if len(s) > 4*flow.MaxString {
		return value{}, bad("a text of %d octets; no stored text is longer than %d", len(s), flow.MaxString)
	}
	if col.upper() {
		s = strings.ToUpper(s)
	}
	if col.Values == nil {
		return value{text: s}, nil
	}
	for _, v := range col.Values {
		if strings.EqualFold(v, s) {
			return value{text: v}, nil
		}
	}
	w := bad("%s is no value of %s, which has %s", quote(s), col.Name, strings.Join(col.Values[1:], ", "))
	w.suggest = nearest(s, col.Values)
	return value{}, w
}

// upper: the values are stored in capital letters.
func (c *Column) upper() bool { return strings.HasSuffix(c.Name, "_country") }

func (c *checker) numberValue(col *Column, s string) (value, *wrong) {
	if s == "" {
		return value{}, bad("%s needs a number", col.Name)
	}
	for _, n := range col.Names {
		if strings.EqualFold(n.Name, s) {
			return value{u: n.Number}, nil
		}
	}
	if len(col.Name) > 4 && strings.HasSuffix(col.Name, "_asn") && len(s) > 2 && strings.EqualFold(s[:2], "as") {
		s = s[2:]
	}
	if col.Unit == UnixSeconds {
		if t, w := c.moment(s); w == nil {
			return value{u: uint64(t.Unix())}, nil
		}
	}
	n, w := amount(col, s)
	if w != nil {
		var known []string
		for _, x := range col.Names {
			known = append(known, x.Name)
		}
		if len(known) > 0 && (s[0] < '0' || s[0] > '9') {
			w = bad("%s is no name or number of %s", quote(s), col.Name)
			w.suggest = nearest(s, known)
		}
		return value{}, w
	}
	least, most := 0.0, math.Ldexp(1, col.bits)
	if col.signed {
		least, most = -math.Ldexp(1, col.bits-1), math.Ldexp(1, col.bits-1)
	}
	if !n.exact || n.f < least || n.f >= most || n.negative && !col.signed {
		return value{}, bad("%s is not from %s to %s, as %s is", quote(s), col.least(), col.most(), col.Name)
	}
	if n.negative {
		return value{i: -int64(n.u)}, nil
	}
	return value{u: n.u, i: int64(n.u)}, nil
}

func (c *Column) least() string {
	if c.signed {
		return strconv.FormatInt(math.MinInt64>>(64-c.bits), 10)
	}
	return "0"
}

func (c *Column) most() string {
	if c.signed {
		return strconv.FormatInt(math.MaxInt64>>(64-c.bits), 10)
	}
	return strconv.FormatUint(math.MaxUint64>>(64-c.bits), 10)
}

// size is a number with its sign; f is about the same, for bounds.
type size struct {
	u        uint64
	negative bool
	exact    bool // u holds it
	f        float64
}

// units are the suffixes of numbers, in terms of their column's unit.
func units(u Unit) map[string]float64 {
	switch u {
	case Count:
		return map[string]float64{"k": 1e3, "M": 1e6, "G": 1e9}
	case Bytes:
		return map[string]float64{"B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
			"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
	case Microseconds, Nanoseconds:
		m := map[string]float64{"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9, "m": 60e9, "min": 60e9, "h": 3600e9, "d": 86400e9}
		if u == Microseconds {
			for k := range m {
				m[k] /= 1e3
			}
		}
		return m
	}
	return nil
}

// amount reads a number with the suffixes of the column's unit.
func amount(col *Column, s string) (size, *wrong) {
	rest, negative := strings.CutPrefix(s, "-")
	if strings.HasPrefix(rest, "0x") || strings.HasPrefix(rest, "0X") {
		u, err := strconv.ParseUint(rest[2:], 16, 64)
		if err != nil {
			return size{}, bad("%s is not a number", quote(s))
		}
		return size{u, negative && u > 0, !negative || u <= math.MaxInt64, signed(float64(u), negative)}, nil
	}
	end := 0
	for end < len(rest) && (rest[end] >= '0' && rest[end] <= '9' || rest[end] == '.') {
		end++
	}
	digits, suffix := rest[:end], rest[end:]
	factor, ok := 1.0, true
	if suffix != "" {
		factor, ok = units(col.Unit)[suffix]
	}
	f, err := strconv.ParseFloat(digits, 64)
	if digits == "" || err != nil && !math.IsInf(f, 1) || !ok {
		return size{}, bad("%s is not a %s", quote(s), col.wants())
	}
	if col.Unit == Nanoseconds && suffix == "" && f != 0 {
		return size{}, bad("%s has no unit: write %ss or %sms", quote(s), digits, digits)
	}
	if u, err := strconv.ParseUint(digits, 10, 64); err == nil && factor == 1 {
		return size{u, negative && u > 0, !negative || u <= math.MaxInt64, signed(float64(u), negative)}, nil
	}
	f *= factor
	whole := math.Round(f)
	fits := whole < 1<<63 && math.Abs(f-whole) <= 1e-6*max(1, f)
	if !fits && f < 1<<63 {
		return size{}, bad("%s is not whole in the unit of %s", quote(s), col.Name)
	}
	if !fits {
		return size{f: signed(f, negative)}, nil
	}
	return size{uint64(whole), negative && whole > 0, true, signed(whole, negative)}, nil
}

func signed(f float64, negative bool) float64 {
	if negative {
		return -f
	}
	return f
}

// wants says what a value of the column looks like.
func (c *Column) wants() string {
	switch c.Unit {
	case Bytes:
		return "number of bytes such as 1500, 10MB or 1GiB"
	case Microseconds, Nanoseconds:
		return "length of time such as 250ms, 5s or 3h"
	case Count:
		return "number such as 100 or 5k"
	case UnixSeconds:
		return "time such as 2026-11-01"
	}
	return "number"
}

// setValue reads members of a set, with + | , or a blank between them, or a
// number.
func setValue(col *Column, s string) (value, *wrong) {
	if n, err := strconv.ParseUint(s, 0, col.bits); err == nil {
		return value{u: n}, nil
	}
	var v value
	parts := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune("+|, ", r) })
	if len(parts) == 0 && s != "" {
		return v, bad("%s names no member of %s", quote(s), col.Name)
	}
next:
	for _, part := range parts {
		var known []string
		for _, n := range col.Names {
			if strings.EqualFold(n.Name, part) {
				v.u |= n.Number
				continue next
			}
			known = append(known, n.Name)
		}
		w := bad("%s is no member of %s", quote(part), col.Name)
		w.suggest = nearest(part, known)
		return v, w
	}
	return v, nil
}

// macRange reads a MAC address, or the first octets of one.
func macRange(s string) (lo, hi uint64, ok bool) {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == ':' || r == '-' })
	if len(parts) == 0 || len(parts) > 6 {
		return 0, 0, false
	}
	for i := range 6 {
		octet := uint64(0)
		if i < len(parts) {
			n, err := strconv.ParseUint(parts[i], 16, 8)
			if err != nil || len(parts[i]) != 2 {
				return 0, 0, false
			}
			octet, hi = n, hi<<8|n
		} else {
			hi = hi<<8 | 0xff
		}
		lo = lo<<8 | octet
	}
	return lo, hi, true
}

// network returns the first and last address of an address or CIDR; IPv4 is
// mapped (::ffff:0:0/96), as the tables have it.
func network(s string) (lo, hi flow.Addr, ok bool) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return lo, hi, false
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	lo = flow.AddrFrom(p.Masked().Addr())
	hi = lo
	for i := range hi {
		switch free := (i+1)*8 - bits; {
		case free >= 8:
			hi[i] = 0xff
		case free > 0:
			hi[i] |= 1<<free - 1
		}
	}
	return lo, hi, true
}

// Times that DateTime64(9) and the rollups can say.
var (
	minTime = time.Unix(0, 0).UTC()
	maxTime = time.Date(2105, 12, 31, 0, 0, 0, 0, time.UTC)
)

// ParseTime reads a time as the language has it: RFC 3339, without its end, or
// a date, in UTC; or seconds since 1970. It must lie from 1970 to 2105.
func ParseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			if t.Before(minTime) || t.After(maxTime) {
				return t, fmt.Errorf("%s is not between 1970 and 2105", quote(s))
			}
			return t.UTC(), nil
		}
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil && n >= 0 && n < float64(maxTime.Unix()) {
		return time.Unix(int64(n), int64((n-math.Floor(n))*1e9)).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%s is not a time; write 2026-11-01, 2026-11-01T10:00:00Z or Unix seconds", quote(s))
}

// ParseLength reads a length of time such as 15m, 24h, 7d or 2w, more than 0.
func ParseLength(s string) (time.Duration, error) {
	if len(s) > 1 {
		n, err := strconv.Atoi(s[:len(s)-1])
		unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[s[len(s)-1]]
		if err == nil && n > 0 && unit > 0 && n <= int(200*365*24*time.Hour/unit) {
			return time.Duration(n) * unit, nil
		}
	}
	return 0, fmt.Errorf("%s is not a length of time; write 15m, 24h, 7d or 2w", quote(s))
}
