package rollup

import (
	"testing"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// Once leaves nothing open of streams that have ended.
func TestOnceCloses(t *testing.T) {
	conn := localtest.Tables(t)
	for hour := range 3 {
		raw(t, conn, hour, hour, 60)
		promise(t, conn, hour, hour, 60)
	}
	localtest.Exec(t, conn, "ALTER TABLE batches UPDATE end_of_stream = true WHERE true SETTINGS mutations_sync = 1")
	if err := Once(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	localtest.Expect(t, conn, "SELECT uniqExact(bucket) FROM rollup_builds WHERE rollup = 'beacons_1h' AND cover != 0", 3)
}
