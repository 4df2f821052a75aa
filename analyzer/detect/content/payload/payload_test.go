package payload

import (
	"bufio"
	"os"
	"strings"
	"testing"
)

// table reads testdata: kind, tab, "sure", "suspect" or "-", tab, request or header.
func table(t testing.TB) (rows [][3]string) {
	t.Helper()
	f, err := os.Open("testdata/table.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for scan := bufio.NewScanner(f); scan.Scan(); {
		if line := scan.Text(); line != "" && !strings.HasPrefix(line, "#") {
			p := strings.SplitN(line, "\t", 3)
			if len(p) != 3 {
				t.Fatalf("%q: not three cells", line)
			}
			rows = append(rows, [3]string(p))
		}
	}
	return rows
}

func judge(text string) []Sign {
	if agent, ok := strings.CutPrefix(text, "agent "); ok {
		return Header(agent)
	}
	return Request(text)
}

func TestTable(t *testing.T) {
	for _, row := range table(t) {
		signs := judge(row[2])
		switch row[1] {
		case "-":
			if len(signs) > 0 {
				t.Errorf("decoy %q: %+v", row[2], signs)
			}
		default:
			if len(signs) == 0 || string(signs[0].Kind) != row[0] || signs[0].Sure != (row[1] == "sure") {
				t.Errorf("%q: got %+v, want %s %s", row[2], signs, row[0], row[1])
			}
		}
	}
}

// What is found has a needle in it, or the database would not show it.
func TestNeedles(t *testing.T) {
	if n := max(len(Needles()), len(HeaderNeedles())); n > 254 {
		t.Fatalf("%d needles: ClickHouse takes 255 at most", n)
	}
	for _, row := range table(t) {
		needled(t, row[2])
	}
}

func needled(t *testing.T, text string) {
	t.Helper()
	if len(judge(text)) == 0 {
		return
	}
	needles := Needles()
	decoded, header := strings.CutPrefix(text, "agent ")
	if header {
		needles = HeaderNeedles()
	}
	for range 4 {
		if containsAny(strings.ToLower(decoded), needles) {
			return
		}
		decoded = unescape(decoded, false)
	}
	t.Errorf("%q is found, but has no needle: %+v", text, judge(text))
}

func FuzzRequest(f *testing.F) {
	for _, row := range table(f) {
		f.Add(row[2])
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range append(Request(text), Header(text)...) {
			if s.Kind == "" || s.Rule == "" || len(s.Text) > maxSign {
				t.Errorf("%q: %+v", text, s)
			}
		}
		needled(t, text)
		needled(t, "agent "+text)
	})
}
