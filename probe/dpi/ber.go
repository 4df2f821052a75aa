package dpi

// ber reads values of the Basic Encoding Rules one after the other (X.690,
// section 8.1), as SNMP, LDAP and Kerberos write them: tags of one octet and
// definite lengths. Anything else, or a value longer than what is there, makes
// it bad and empty; it never reads beyond b.
type ber struct {
	b   []byte
	bad bool
}

// Universal tags (X.680, section 8.6).
const (
	berInteger    = 0x02
	berOctets     = 0x04
	berOID        = 0x06
	berEnumerated = 0x0a
	berSequence   = 0x30
	berSet        = 0x31
)

// berHead reads the head of the value at the beginning of b: its tag, how many
// octets the head has and how many the content. head is 0 when b breaks off in
// it, -1 when no such value begins here.
func berHead(b []byte) (tag byte, head, size int) {
	if len(b) > 0 && b[0]&31 == 31 {
		return 0, -1, 0
	}
	if len(b) < 2 {
		return 0, 0, 0
	}
	n := int(b[1])
	if n < 0x80 {
		return b[0], 2, n
	}
	n &= 0x7f
	if n == 0 || n > 4 {
		return 0, -1, 0
	}
	if len(b) < 2+n {
		return 0, 0, 0
	}
	for _, c := range b[2 : 2+n] {
		size = size<<8 | int(c)
	}
	if size < 0 || size > 1<<30 {
		return 0, -1, 0
	}
	return b[0], 2 + n, size
}

// next takes the next value, which points into b; tag 0 is none.
func (r *ber) next() (tag byte, v []byte) {
	tag, head, size := berHead(r.b)
	if head <= 0 || size > len(r.b)-head {
		r.bad, r.b = true, nil
		return 0, nil
	}
	v, r.b = r.b[head:head+size], r.b[head+size:]
	return tag, v
}

// peek is the tag of the next value, 0 at the end.
func (r *ber) peek() byte {
	if len(r.b) == 0 {
		return 0
	}
	return r.b[0]
}

// take takes the next value, which must have this tag.
func (r *ber) take(tag byte) []byte {
	if r.peek() != tag {
		r.bad, r.b = true, nil
		return nil
	}
	_, v := r.next()
	return v
}

// into reads what is inside the next value, which must have this tag.
func (r *ber) into(tag byte) ber {
	v := r.take(tag)
	return ber{b: v, bad: r.bad}
}

// integer takes an INTEGER or ENUMERATED of at most eight octets.
func (r *ber) integer(tag byte) int64 {
	v := r.take(tag)
	if len(v) == 0 || len(v) > 8 {
		r.bad = true
		return 0
	}
	return berInt(v)
}

func berInt(v []byte) int64 {
	var n int64
	for i, c := range v {
		if i == 0 {
			n = int64(int8(c))
		} else {
			n = n<<8 | int64(c)
		}
	}
	return n
}

// appendOID appends an OBJECT IDENTIFIER in dotted form (X.690, section 8.19).
func appendOID(dst, v []byte) []byte {
	var n uint64
	first := true
	for _, c := range v {
		n = n<<7 | uint64(c&0x7f)
		if c&0x80 != 0 {
			continue
		}
		if first {
			top := min(n/40, 2)
			dst = appendInt(append(appendInt(dst, top), '.'), n-40*top)
			first = false
		} else {
			dst = appendInt(append(dst, '.'), n)
		}
		n = 0
	}
	return dst
}
