package zeek

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/importer/source"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// row is one line of a log, its values by the names of Zeek's fields. An unset
// or empty value is "".
type row struct {
	kind   string            // of log: "conn", "dns"; "" not told by the line
	column map[string]int    // TSV
	cells  []string          // TSV
	set    string            // TSV: between the elements of a set
	values map[string]string // JSON: scalars
	lists  map[string][]string
}

func (r *row) get(name string) string {
	if r.values != nil {
		return r.values[name]
	}
	if i, ok := r.column[name]; ok && i < len(r.cells) {
		return unescape(r.cells[i])
	}
	return ""
}

// list is the elements of a set or vector.
func (r *row) list(name string) []string {
	if r.values != nil {
		if l, ok := r.lists[name]; ok {
			return l
		}
		if v := r.values[name]; v != "" {
			return []string{v}
		}
		return nil
	}
	i, ok := r.column[name]
	if !ok || i >= len(r.cells) || r.cells[i] == "" {
		return nil
	}
	parts := strings.Split(r.cells[i], r.set)
	for k := range parts {
		parts[k] = unescape(parts[k])
	}
	return parts
}

// first is the first field that is set.
func (r *row) first(names ...string) string {
	for _, n := range names {
		if v := r.get(n); v != "" {
			return v
		}
	}
	return ""
}

// number reads a count; what is none, or too large for bits, is 0.
func (r *row) number(name string, bits int) uint64 {
	s := r.get(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		if f, ferr := strconv.ParseFloat(s, 64); ferr == nil && f >= 0 && f < 1<<53 && bits == 64 {
			return uint64(f)
		}
		return 0
	}
	return n
}

// micros reads an interval of seconds as microseconds, 0 where it is unset, at least 1 where it is not.
func (r *row) micros(name string) uint32 {
	d, ok := source.Decimal(r.get(name))
	if !ok || d < 0 {
		return 0
	}
	return uint32(min(max(d/1000, 1), 1<<32-1))
}

func (r *row) bool(name string) (value, set bool) {
	switch r.get(name) {
	case "T", "true":
		return true, true
	case "F", "false":
		return false, true
	}
	return false, false
}

// time reads a time: seconds, milliseconds (JSON::TS_MILLIS) or ISO 8601.
func (r *row) time(name string) (int64, bool) {
	s := r.get(name)
	if strings.Contains(s, "T") {
		t, err := time.Parse(time.RFC3339Nano, s)
		return t.UnixNano(), err == nil && t.Year() >= 1970 && t.Year() < 2106
	}
	if whole, _, _ := strings.Cut(s, "."); len(whole) == 13 {
		if ms, err := strconv.ParseFloat(s, 64); err == nil {
			return int64(ms*1000) * 1000, true
		}
	}
	t, ok := source.Decimal(s)
	return t, ok && t >= 0
}

func (r *row) addresses() (src, dst flow.Addr, err error) {
	var ok bool
	if src, ok = source.Address(r.get("id.orig_h")); !ok {
		return src, dst, fmt.Errorf("id.orig_h %q is no address", r.get("id.orig_h"))
	}
	if dst, ok = source.Address(r.get("id.resp_h")); !ok {
		return src, dst, fmt.Errorf("id.resp_h %q is no address", r.get("id.resp_h"))
	}
	return src, dst, nil
}

// unescape undoes Zeek's \xNN.
func unescape(s string) string {
	if !strings.Contains(s, `\x`) && !strings.Contains(s, `\\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x':
			if n, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				b = append(b, byte(n))
				i += 3
				continue
			}
			b = append(b, s[i])
		case s[i] == '\\' && i+1 < len(s) && s[i+1] == '\\':
			b = append(b, '\\')
			i++
		default:
			b = append(b, s[i])
		}
	}
	return string(b)
}

// errHeader: a line of values before the line that names them.
var errHeader = errors.New("no #fields line before it")

// format is what the header lines of a log say. It lives as long as the file;
// Zeek starts a new header when it appends to a log.
type format struct {
	separator, set, empty, unset string
	path                         string
	column                       map[string]int
	row                          row
}

func newFormat() *format {
	return &format{separator: "\t", set: ",", empty: "(empty)", unset: "-"}
}

// parse reads a line: nil without an error is a header or an empty line. The
// row is valid until the next call.
func (f *format) parse(line []byte) (*row, error) {
	switch {
	case len(line) == 0:
		return nil, nil
	case line[0] == '#':
		f.header(string(line))
		return nil, nil
	case line[0] == '{':
		return f.parseJSON(line)
	case f.column == nil:
		return nil, errHeader
	}
	f.row = row{kind: f.path, column: f.column, cells: f.row.cells[:0], set: f.set}
	for cell := range strings.SplitSeq(string(line), f.separator) {
		if cell == f.unset || cell == f.empty {
			cell = ""
		}
		f.row.cells = append(f.row.cells, cell)
	}
	// Fewer cells than columns: a line that was cut. More: labelled logs separate the last ones by blanks.
	if len(f.row.cells) < len(f.column)-2 || len(f.row.cells) < 3 {
		return nil, fmt.Errorf("%d cells for %d columns", len(f.row.cells), len(f.column))
	}
	return &f.row, nil
}

func (f *format) header(line string) {
	key, value, ok := strings.Cut(line, f.separator)
	if strings.HasPrefix(line, "#separator ") {
		f.separator = unescape(strings.TrimPrefix(line, "#separator "))
		if f.separator == "" {
			f.separator = "\t"
		}
		return
	}
	if !ok {
		return
	}
	switch key {
	case "#set_separator":
		if value != "" {
			f.set = value
		}
	case "#empty_field":
		f.empty = value
	case "#unset_field":
		f.unset = value
	case "#path":
		f.path = value
	case "#fields":
		f.column = make(map[string]int)
		for i, name := range strings.Split(value, f.separator) {
			// Sites choose what stands between a record and its field (Log::default_scope_sep).
			if len(name) > 4 && name[:2] == "id" && (name[3:] == "orig_h" || name[3:] == "orig_p" || name[3:] == "resp_h" || name[3:] == "resp_p") {
				name = "id." + name[3:]
			}
			f.column[name] = i
		}
	}
}

// maxDepth of nested objects in JSON; Zeek has none, shippers wrap one or two around.
const maxDepth = 4

func (f *format) parseJSON(line []byte) (*row, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var all map[string]any
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("json: %w", err)
	}
	r := &f.row
	if r.values == nil || r.lists == nil {
		*r = row{values: make(map[string]string), lists: make(map[string][]string)}
	}
	clear(r.values)
	clear(r.lists)
	r.flatten("", all, 0)
	r.kind = r.first("_path", "@stream")
	if r.kind == "" {
		r.kind = f.path
	}
	return r, nil
}

// flatten spells names as Zeek does: id_orig_h and {"id":{"orig_h":…}} are id.orig_h.
func (r *row) flatten(prefix string, all map[string]any, depth int) {
	for name, v := range all {
		if rest, ok := strings.CutPrefix(name, "id_"); ok && prefix == "" && (strings.HasPrefix(rest, "orig_") || strings.HasPrefix(rest, "resp_")) {
			name = "id." + rest
		}
		name = prefix + name
		switch v := v.(type) {
		case map[string]any:
			if depth < maxDepth {
				r.flatten(name+".", v, depth+1)
			}
		case []any:
			list := make([]string, 0, len(v))
			for _, e := range v {
				list = append(list, scalar(e))
			}
			r.lists[name] = list
		default:
			if s := scalar(v); s != "" && s != "-" {
				r.values[name] = s
			}
		}
	}
}

func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "T"
		}
		return "F"
	}
	return ""
}

// kindOf guesses the kind of log from the fields of a JSON line without a name.
func kindOf(r *row) string {
	has := func(names ...string) bool {
		for _, n := range names {
			if _, ok := r.values[n]; !ok {
				if _, ok := r.lists[n]; !ok {
					return false
				}
			}
		}
		return true
	}
	switch {
	case has("conn_state", "uid"):
		return "conn"
	case has("uid", "query", "trans_id"), has("uid", "qtype_name"):
		return "dns"
	case has("uid", "trans_depth", "method"), has("uid", "status_code", "trans_depth"):
		return "http"
	case has("uid", "established", "resumed"):
		return "ssl"
	case has("uid", "client", "server", "kex_alg"):
		return "ssh"
	}
	return ""
}
