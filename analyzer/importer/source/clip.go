package source

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Clip shortens s to what a record holds, at the end of a character, and marks it in cut.
func Clip(s string, cut *flow.Cut) string {
	if len(s) <= flow.MaxString {
		return s
	}
	*cut |= flow.CutString
	n := flow.MaxString
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Address reads an address; a zone is dropped.
func Address(s string) (flow.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return flow.Addr{}, false
	}
	return flow.AddrFrom(a), true
}

// Decimal reads a number of seconds with a fraction, "1677024003.714845", as nanoseconds without the rounding of a float.
func Decimal(s string) (int64, bool) {
	whole, fraction, _ := strings.Cut(s, ".")
	negative := strings.HasPrefix(whole, "-")
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || n > 1<<33 || n < -1<<33 || len(fraction) > 0 && !digits(fraction) {
		f, err := strconv.ParseFloat(s, 64) // 1.6e9
		if err != nil || !(f > -1<<33 && f < 1<<33) {
			return 0, false
		}
		return int64(f * 1e9), true
	}
	if len(fraction) > 9 {
		fraction = fraction[:9]
	}
	var f int64
	for i := range 9 {
		f *= 10
		if i < len(fraction) {
			f += int64(fraction[i] - '0')
		}
	}
	if negative {
		f = -f
	}
	return n*int64(time.Second) + f, true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// MaxTime is the greatest time that can be stored, ns since the epoch: DateTime of the ledger ends in 2106.
const MaxTime = (1<<32 - 1) * int64(time.Second)

// Storable says whether a flow's times can be stored.
func Storable(start, end int64) bool { return start >= 0 && end >= start && end <= MaxTime }
