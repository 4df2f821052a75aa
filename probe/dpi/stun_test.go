package dpi

import (
	"slices"
	"testing"
)

// The response of RFC 5769, section 2.2: 192.0.2.1:32853.
const stunSample = "\x01\x01\x00\x3c\x21\x12\xa4\x42\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\x80\x22\x00\x0btest vector \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43" +
	"\x00\x08\x00\x14\x2b\x91\xf5\x99\xfd\x9e\x90\xc3\x8c\x74\x89\xf9\x2a\xf9\xba\x53\xf0\x6b\xe7\xd7\x80\x28\x00\x04\xc0\x7d\x4c\x96"

func TestSTUN(t *testing.T) {
	k := newTalk(t, protoUDP, 50000)
	k.send(sideSrc, "\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl")
	k.send(sideDst, stunSample)
	k.send(sideSrc, "\x00\x03\x00\x00\x21\x12\xa4\x42abcdefghijkm")
	k.send(sideDst, "\x01\x13\x00\x10\x21\x12\xa4\x42abcdefghijkm\x00\x09\x00\x04\x00\x00\x04\x01\x00\x14\x00\x04test")
	r := k.end()
	if r.App != "stun" || r.ServerSoftware != "test vector" || r.Domain != "test" || r.AppErrors != 1 ||
		!slices.Equal(r.AppRequests, []string{"Binding", "Allocate"}) || !slices.Equal(r.AppResponses, []string{"Binding 192.0.2.1:32853", "Allocate error 401"}) {
		t.Errorf("%q %q %q %d %q %q", r.App, r.ServerSoftware, r.Domain, r.AppErrors, r.AppRequests, r.AppResponses)
	}
}
