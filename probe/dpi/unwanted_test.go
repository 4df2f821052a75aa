package dpi

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestUnwanted leaves out what Unwanted allows to be left out, as a meter does,
// and must find the same requests and responses, also when a segment of the
// body was lost or came twice.
func TestUnwanted(t *testing.T) {
	const part = 1000
	body := strings.Repeat("x", 40*part)
	answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(body))
	for _, lost := range []int{-1, 0, 20, 39} {
		k := newTalk(t, protoTCP, 80)
		k.send(sideSrc, get("/first"))
		if _, ok := k.st.Unwanted(true); ok {
			t.Fatal("a request is unwanted")
		}
		k.send(sideDst, answer)
		left := 0
		give := func(seq uint32, data string) {
			if until, ok := k.st.Unwanted(false); ok && int32(seq+uint32(len(data))-until) <= 0 {
				left++
				return
			}
			k.at(sideDst, seq, data, len(data))
		}
		for i := range 40 {
			if i != lost {
				give(k.seq[sideDst], body[:part])
			}
			if i == 7 { // sent again
				give(k.seq[sideDst], body[:part])
			}
			k.seq[sideDst] += part
		}
		if left < 39 {
			t.Errorf("lost %d: %d segments of a body were wanted", lost, 41-left)
		}
		if _, ok := k.st.Unwanted(true); ok {
			t.Error("the next request is unwanted")
		}
		k.send(sideSrc, get("/second"))
		k.send(sideDst, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		if got, want := k.rec.HTTPStatuses, []uint16{200, 404}; !slices.Equal(got, want) {
			t.Errorf("lost %d: statuses (-got +want)\n-%v\n+%v", lost, got, want)
		}
		if len(k.rec.HTTPRequests) != 2 {
			t.Errorf("lost %d: requests %q", lost, k.rec.HTTPRequests)
		}
	}
}
