package ipfix

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// element of a decoded record: that of the reverse direction has reverse set.
type element struct {
	id      uint16
	reverse bool
}

// data is one decoded data record.
type data struct {
	domain   uint32
	template uint16
	fields   map[element][]byte
}

func (d data) u64(id uint16) uint64 { return number(d.fields[element{id, false}]) }
func (d data) reverse(id uint16) uint64 {
	return number(d.fields[element{id, true}])
}
func (d data) text(id uint16) string { return string(d.fields[element{id, false}]) }

func number(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

type templateKey struct {
	domain uint32
	id     uint16
}

type templateField struct {
	element
	size uint16
}

// decoder is a collecting process that refuses what RFC 7011 does not allow.
type decoder struct {
	templates map[templateKey][]templateField
	expect    map[uint32]uint32 // sequence numbers
	records   []data
	refreshed int // templates told again
	messages  int
	largest   int
}

func newDecoder() *decoder {
	return &decoder{templates: make(map[templateKey][]templateField), expect: make(map[uint32]uint32)}
}

func (d *decoder) message(b []byte) error {
	if len(b) < 16 || binary.BigEndian.Uint16(b) != 10 {
		return errors.New("no IPFIX message")
	}
	if n := int(binary.BigEndian.Uint16(b[2:])); n != len(b) {
		return fmt.Errorf("length %d, message has %d", n, len(b))
	}
	d.messages++
	d.largest = max(d.largest, len(b))
	sequence, domain := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])
	if want := d.expect[domain]; sequence != want {
		return fmt.Errorf("domain %d: sequence %d, want %d", domain, sequence, want)
	}
	for b = b[16:]; len(b) > 0; {
		if len(b) < 4 {
			return errors.New("half a set header")
		}
		id, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if n <= 4 || n > len(b) {
			return fmt.Errorf("set %d: length %d", id, n)
		}
		if err := d.set(domain, id, b[4:n]); err != nil {
			return fmt.Errorf("set %d: %w", id, err)
		}
		b = b[n:]
	}
	return nil
}

func (d *decoder) set(domain uint32, id uint16, b []byte) error {
	if id == 2 || id == 3 {
		return d.templateSet(domain, id == 3, b)
	}
	fields, ok := d.templates[templateKey{domain, id}]
	if !ok {
		return errors.New("unknown template")
	}
	for len(b) > 0 {
		r := data{domain, id, make(map[element][]byte)}
		for _, f := range fields {
			n := int(f.size)
			if f.size == 65535 {
				if len(b) == 0 {
					return errors.New("text beyond the set")
				}
				n = int(b[0])
				b = b[1:]
				if n == 255 {
					if len(b) < 2 {
						return errors.New("length beyond the set")
					}
					n = int(binary.BigEndian.Uint16(b))
					b = b[2:]
				}
			}
			if n > len(b) {
				return fmt.Errorf("element %d beyond the set", f.id)
			}
			if _, twice := r.fields[f.element]; twice {
				return fmt.Errorf("element %d twice", f.id)
			}
			r.fields[f.element], b = b[:n:n], b[n:]
		}
		d.expect[domain]++
		d.records = append(d.records, r)
	}
	return nil
}

func (d *decoder) templateSet(domain uint32, options bool, b []byte) error {
	for len(b) > 0 {
		head := 4
		if options {
			head = 6
		}
		if len(b) < head {
			return errors.New("half a template")
		}
		key, n := templateKey{domain, binary.BigEndian.Uint16(b)}, int(binary.BigEndian.Uint16(b[2:]))
		if key.id < 256 || n == 0 || options && binary.BigEndian.Uint16(b[4:]) == 0 {
			return fmt.Errorf("template %d of %d fields", key.id, n)
		}
		b = b[head:]
		var fields []templateField
		for range n {
			if len(b) < 4 {
				return errors.New("half a field")
			}
			f := templateField{element{binary.BigEndian.Uint16(b), false}, binary.BigEndian.Uint16(b[2:])}
			b = b[4:]
			if f.id&0x8000 != 0 {
				if len(b) < 4 || binary.BigEndian.Uint32(b) != 29305 {
					return errors.New("an enterprise that is not the reverse one")
				}
				f.id, f.reverse, b = f.id&0x7fff, true, b[4:]
			}
			fields = append(fields, f)
		}
		if old, ok := d.templates[key]; ok {
			if fmt.Sprint(old) != fmt.Sprint(fields) {
				return fmt.Errorf("template %d changed", key.id)
			}
			d.refreshed++
		}
		d.templates[key] = fields
	}
	return nil
}

// stream reads messages one after another, as TCP carries them.
func (d *decoder) stream(b []byte) error {
	for len(b) > 0 {
		if len(b) < 16 {
			return errors.New("half a header")
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 16 || n > len(b) {
			return fmt.Errorf("length %d of %d octets", n, len(b))
		}
		if err := d.message(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// flows are the records that are no options.
func (d *decoder) flows() (list []data) {
	for _, r := range d.records {
		if r.template < statisticsTemplate {
			list = append(list, r)
		}
	}
	return list
}
