package importer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tapwatch/tapwatch/analyzer/importer/biflow"
	"github.com/tapwatch/tapwatch/analyzer/importer/nfcapd"
	"github.com/tapwatch/tapwatch/analyzer/importer/source"
)

// Nfcapd converts the files that nfcapd, its relatives and nfdump write. Each file
// is for itself: a flow whose directions stand in two of them is two flows. What else
// lies in the collector's folder is counted. The error is that of the sink, of ctx, or of a
// file that cannot be opened or is of a kind that cannot be read; what is damaged is counted.
func Nfcapd(ctx context.Context, files []string, sink Sink) (source.Tally, error) {
	var all source.Tally
	for _, path := range files {
		if err := ctx.Err(); err != nil {
			return all, err
		}
		if err := stream(sink, "nfcapd", path); err != nil {
			return all, err
		}
		x := newExports(sink)
		x.file = path
		err := nfcapdFile(ctx, path, x)
		all.Add(x.tally)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

func nfcapdFile(ctx context.Context, path string, x *exports) error {
	d := nfcapd.New()
	err := read(path, func(r io.Reader) error { return d.Read(r, nil) })
	if errors.Is(err, nfcapd.ErrFormat) {
		x.skip(source.SkipMalformed, 1, 0, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("import %s: %w", path, err)
	}
	d.Skip = func(reason string, n uint64, at int64, cause error) {
		x.number = d.Number()
		x.skip(reason, n, at, cause)
	}
	err = read(path, func(r io.Reader) error {
		return d.Read(r, func(h biflow.Half) error {
			if d.Number()%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			return x.half(h)
		})
	})
	if err != nil {
		return err
	}
	return x.flush()
}
