package corpus

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// ZeekLog reads one of Zeek's logs: for each line the values by column, as
// they stand there. "-" is an unset value, "(empty)" one without elements.
func ZeekLog(t testing.TB, path string) (rows []map[string]string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for line := range strings.Lines(string(text)) {
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch {
		case columns[0] == "#fields":
			fields = columns[1:]
		case columns[0] == "ts": // cut without its heading
			fields = columns
		case line[0] != '#' && len(columns) == len(fields):
			row := map[string]string{}
			for i, f := range fields {
				row[f] = columns[i]
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// ZeekSet is ZeekLog without the columns that are unset or empty.
func ZeekSet(t testing.TB, path string) []map[string]string {
	t.Helper()
	rows := ZeekLog(t, path)
	for _, row := range rows {
		maps.DeleteFunc(row, func(_, v string) bool { return v == "-" || v == "(empty)" })
	}
	return rows
}

// ZeekTrace is a capture of Zeek's own tests.
type ZeekTrace struct {
	Name string // relative to the folder of the traces
	Path string
	Logs []string // paths of the logs that the tests expect of it
}

// ZeekTraces returns the captures of Zeek's tests that are there, those of the
// wide corpus too, or skips the test; what is unpacked lasts as long as it.
func ZeekTraces(t testing.TB) (all []ZeekTrace) {
	t.Helper()
	dir, unpacked := Dir(t), Unpack(t, "zeek")
	for _, where := range [][2]string{
		{filepath.Join(dir, "zeek"), filepath.Join(dir, "zeek", "expected")},
		{filepath.Join(unpacked, "Traces"), filepath.Join(unpacked, "expected")},
	} {
		logs := map[string][]string{}
		err := filepath.WalkDir(where[1], func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || filepath.Ext(path) != ".log" {
				return err
			}
			name, err := filepath.Rel(where[1], filepath.Dir(filepath.Dir(path)))
			logs[name] = append(logs[name], path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range slices.Sorted(maps.Keys(logs)) {
			path := filepath.Join(where[0], name)
			if _, err := os.Stat(path); err == nil {
				all = append(all, ZeekTrace{name, path, logs[name]})
			}
		}
	}
	return all
}
