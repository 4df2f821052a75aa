package enrich

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxVendors bounds the prefixes of all files; the registries have 60 000.
const maxVendors = 1_000_000

// vendor is whose cards begin with a prefix.
type vendor struct {
	prefix uint64 // the first bits, right aligned
	bits   uint8  // 24, 28 or 36
	name   string
}

// key is that of the table oui_vendors.
func (v vendor) key() uint64 {
	if v.bits == 24 {
		return v.prefix
	}
	return v.prefix | uint64(v.bits)<<40
}

// parseVendors reads IEEE's CSV (Registry, Assignment, Organization Name, …) or
// Wireshark's manuf: prefix, short name, long name, separated by tabs.
func parseVendors(d document) (list []vendor, refused int, err error) {
	data := bytes.TrimPrefix(d.data, []byte("\xef\xbb\xbf"))
	if bytes.HasPrefix(data, []byte("Registry,")) {
		return ieeeVendors(data)
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 64<<10)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		part := strings.SplitN(line, "\t", 3)
		name := ""
		if len(part) > 1 {
			name = strings.TrimSpace(part[len(part)-1])
			if name == "" {
				name = strings.TrimSpace(part[1])
			}
		}
		v, ok := vendorOf(strings.TrimSpace(part[0]), name)
		if !ok {
			refused++
			continue
		}
		if list = append(list, v); len(list) > maxVendors {
			return nil, refused, fmt.Errorf("%w: more than %d vendors", errTooLarge, maxVendors)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, refused, err
	}
	if len(list) == 0 {
		return nil, refused, errors.New("no vendors in it: neither IEEE's CSV nor Wireshark's manuf")
	}
	return list, refused, nil
}

func ieeeVendors(data []byte) (list []vendor, refused int, err error) {
	r := csv.NewReader(bytes.NewReader(data))
	r.FieldsPerRecord, r.ReuseRecord, r.LazyQuotes = -1, true, true
	for first := true; ; first = false {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return list, refused, nil
		}
		if err != nil {
			return nil, refused, err
		}
		if first {
			continue
		}
		var v vendor
		ok := false
		if len(row) >= 3 {
			v, ok = vendorOf(row[1], strings.TrimSpace(row[2]))
		}
		if !ok {
			refused++
			continue
		}
		if list = append(list, v); len(list) > maxVendors {
			return nil, refused, fmt.Errorf("%w: more than %d vendors", errTooLarge, maxVendors)
		}
	}
}

// vendorOf reads 001422, 00:14:22, 00-14-22 and 00:55:DA:00:00:00/28.
func vendorOf(prefix, name string) (vendor, bool) {
	text, length, given := strings.Cut(prefix, "/")
	text = strings.NewReplacer(":", "", "-", "", ".", "").Replace(text)
	bits := 4 * len(text)
	if given {
		n, err := strconv.Atoi(length)
		if err != nil || n > bits {
			return vendor{}, false
		}
		bits = n
	}
	if bits != 24 && bits != 28 && bits != 36 || len(text) > 12 || name == "" {
		return vendor{}, false
	}
	n, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return vendor{}, false
	}
	return vendor{n >> (4*len(text) - bits), uint8(bits), strings.Clone(name)}, true
}
