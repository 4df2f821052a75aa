package flow

import (
	"testing"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/tapwatch/tapwatch/proto/flowpb"
)

var testZstd, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))

func zstdOf(t testing.TB, raw []byte) []byte {
	t.Helper()
	return testZstd.EncodeAll(raw, nil)
}

// seal makes a message of p as it is.
func seal(t testing.TB, p *flowpb.FlowBatch) []byte {
	t.Helper()
	raw, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return zstdOf(t, raw)
}
