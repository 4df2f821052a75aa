package capture

import (
	"math"
	"math/bits"
)

// tsClock turns the time stamps of one pcapng interface into nanoseconds since
// the epoch. Source: draft-ietf-opsawg-pcapng, if_tsresol and if_tsoffset.
type tsClock struct {
	mul, div uint64 // nanoseconds = stamp * mul / div, when shift is 0
	shift    uint   // else nanoseconds = stamp * 1e9 >> shift
	offset   int64  // nanoseconds to add
}

// newTsClock takes the option values: resol with its upper bit set is the
// exponent of 2, otherwise of 10; offset is in seconds.
func newTsClock(resol byte, offset int64) tsClock {
	c := tsClock{mul: 1, div: 1, offset: seconds(offset)}
	n := uint(resol & 0x7f)
	switch {
	case resol&0x80 != 0 && n == 0:
		c.mul = 1e9
	case resol&0x80 != 0:
		c.shift = n
	case n <= 9:
		c.mul = pow10(9 - n)
	case n-9 <= 19:
		c.div = pow10(n - 9)
	default: // finer than 10^-28 s: a 64-bit stamp never reaches a nanosecond
		c.mul = 0
	}
	return c
}

func (c *tsClock) nanos(ts uint64) int64 {
	m, d := c.mul, c.div
	if c.shift != 0 {
		m, d = 1e9, 1
	}
	hi, lo := bits.Mul64(ts, m)
	switch {
	case c.shift >= 64:
		hi, lo = 0, hi>>(c.shift-64)
	case c.shift != 0:
		hi, lo = hi>>c.shift, hi<<(64-c.shift)|lo>>c.shift
	case d != 1:
		hi, lo = hi/d, lo/d // m is 1 here, so hi is 0
	}
	if hi != 0 || lo > math.MaxInt64 {
		return addTimes(math.MaxInt64, c.offset)
	}
	return addTimes(int64(lo), c.offset)
}

func pow10(n uint) uint64 {
	v := uint64(1)
	for range n {
		v *= 10
	}
	return v
}

// seconds converts to nanoseconds, held at the limits.
func seconds(s int64) int64 {
	switch {
	case s > math.MaxInt64/int64(1e9):
		return math.MaxInt64
	case s < math.MinInt64/int64(1e9):
		return math.MinInt64
	}
	return s * 1e9
}

// addTimes adds, held at the limits.
func addTimes(a, b int64) int64 {
	s := a + b
	if a > 0 && b > 0 && s < 0 {
		return math.MaxInt64
	}
	if a < 0 && b < 0 && s >= 0 {
		return math.MinInt64
	}
	return s
}
