package flow

import "slices"

// Clone returns a copy that stays as it is when r is filled again: its lists
// are its own. An empty list stays nil or empty, as it is.
func (r *Record) Clone() Record {
	c := *r
	for _, list := range [...]*[]string{&c.HTTPRequests, &c.DNSNames, &c.DNSAnswers, &c.AppRequests, &c.AppResponses, &c.CertNames} {
		*list = slices.Clone(*list)
	}
	for _, list := range [...]*[]uint16{&c.HTTPStatuses, &c.DNSQTypes, &c.DNSRcodes} {
		*list = slices.Clone(*list)
	}
	for _, list := range [...]*[]uint32{&c.SrcSizeBins, &c.DstSizeBins, &c.FirstGaps, &c.HTTPLatencies, &c.DNSLatencies} {
		*list = slices.Clone(*list)
	}
	c.FirstSizes = slices.Clone(c.FirstSizes)
	return c
}
