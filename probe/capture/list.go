package capture

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ListCaptures returns the capture files under path in the order of their first
// packet's time, those without a packet last, equal ones by name. path itself
// is returned when it is not a directory. Folders below it are searched; names
// that begin with a dot and files that are neither pcap nor pcapng, packed or
// not, are passed over. An error says that a folder cannot be read or that
// there is no capture at all.
func ListCaptures(path string) ([]string, error) {
	if path == "-" {
		return []string{path}, nil
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("list captures %s: %w", path, cause(err))
	}
	if !st.IsDir() {
		return []string{path}, nil
	}
	type found struct {
		path  string
		first int64
	}
	var all []found
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("list captures %s: %w", p, cause(err))
		case p != path && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		// A link to a file is followed, a link to a folder is not.
		if st, err := os.Stat(p); err != nil || !st.Mode().IsRegular() {
			return nil
		}
		if t, ok := firstTime(p); ok {
			all = append(all, found{p, t})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("list captures %s: no pcap or pcapng file in this directory: %w", path, ErrNotCapture)
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.first, b.first), strings.Compare(a.path, b.path))
	})
	paths := make([]string, len(all))
	for i, f := range all {
		paths[i] = f.path
	}
	return paths, nil
}

// firstTime returns the time of the first packet, math.MaxInt64 where there is
// none, and whether path is a capture at all. A file that looks like one but
// cannot be read is one: whoever opens it is told why.
func firstTime(path string) (int64, bool) {
	s, err := openFile(path, FileOptions{})
	if err != nil {
		return math.MaxInt64, !isNoCapture(err)
	}
	defer s.Close()
	var f Frame
	if s.Next(&f) != nil {
		return math.MaxInt64, true
	}
	return f.Time, true
}

func isNoCapture(err error) bool {
	return errors.Is(err, ErrNotCapture) || errors.Is(err, ErrEmptyFile)
}
