package importer

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/tapwatch/tapwatch/analyzer/importer/source"
)

// read opens a file, packed or not, for the time of do.
func read(path string, do func(io.Reader) error) error {
	f, err := source.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return do(f)
}

// expand lists the files in directories, and below them; others stay as they are.
func expand(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		err = filepath.WalkDir(path, func(p string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				files = append(files, p)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", path, err)
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}
