package source

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Reasons for which input is left out. In the ledger of a batch they are the
// reasons of lost records.
const (
	SkipMalformed = "import_malformed" // not the format, or a field that cannot be read
	SkipHeader    = "import_header"    // a line before the header that names its columns
	SkipTime      = "import_time"      // no time, or one that cannot be stored
	SkipAddress   = "import_address"   // no addresses
	SkipLong      = "import_long_line" // longer than MaxLine
	SkipUnknown   = "import_unknown"   // a kind of log or record that holds no flows
	SkipNoFlow    = "import_no_flow"   // belongs to a connection that is in none of the files
	SkipJoinFull  = "import_join_full" // more waits for its connection than memory is given
	SkipTemplate  = "import_template"  // NetFlow v9 and IPFIX: data before its template
	SkipDamaged   = "import_damaged"   // the file ends within an archive, or cannot be read on
	SkipOptions   = "import_options"   // statistics of the exporter itself, not flows
)

// Skip is what one reason took.
type Skip struct {
	Count uint64 `json:"count"`
	First string `json:"first"` // where it was met first, "conn.log:17: bad address"
}

// Tally is the account of an import: read = converted + joined + skipped. The zero value is ready.
type Tally struct {
	Read      uint64          `json:"read"`      // lines or records, comments apart
	Converted uint64          `json:"converted"` // became flow records, or the first segment of several
	Joined    uint64          `json:"joined"`    // told more about a flow record, or about one that was made of several
	Records   uint64          `json:"records"`   // flow records made
	Skipped   map[string]Skip `json:"skipped,omitempty"`
}

// Skip counts n records left out for a reason, met at a place in a file; cause may be nil.
func (t *Tally) Skip(reason, file string, line int64, n uint64, cause error) {
	if n == 0 {
		return
	}
	if t.Skipped == nil {
		t.Skipped = make(map[string]Skip)
	}
	s := t.Skipped[reason]
	if s.Count == 0 {
		s.First = fmt.Sprintf("%s:%d", file, line)
		if cause != nil {
			s.First += ": " + cause.Error()
		}
	}
	s.Count += n
	t.Skipped[reason] = s
}

// Add adds another account.
func (t *Tally) Add(o Tally) {
	t.Read += o.Read
	t.Converted += o.Converted
	t.Joined += o.Joined
	t.Records += o.Records
	for reason, s := range o.Skipped {
		if t.Skipped == nil {
			t.Skipped = make(map[string]Skip)
		}
		have := t.Skipped[reason]
		if have.Count == 0 {
			have.First = s.First
		}
		have.Count += s.Count
		t.Skipped[reason] = have
	}
}

// Lost is the sum of what was skipped.
func (t *Tally) Lost() (n uint64) {
	for _, s := range t.Skipped {
		n += s.Count
	}
	return n
}

// String is the account in words, a reason a line.
func (t *Tally) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d read: %d became flow records (%d with segments), %d joined, %d skipped", t.Read, t.Converted, t.Records, t.Joined, t.Lost())
	for _, reason := range slices.Sorted(maps.Keys(t.Skipped)) {
		fmt.Fprintf(&b, "\n  %s: %d, first %s", strings.TrimPrefix(reason, "import_"), t.Skipped[reason].Count, t.Skipped[reason].First)
	}
	return b.String()
}
