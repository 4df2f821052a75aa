package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tapwatch/tapwatch/analyzer/query"
)

// FilterInput is the part of a question that says which flows. Everything but q
// is a shorthand for a condition of the language.
type FilterInput struct {
	Q           string `query:"q" maxLength:"16384" doc:"filter, such as: src_ip in 10.0.0.0/8 and dst_port = 443 and not app = dns; analyzer/query/README.md has the language, /api/v1/complete proposes what fits"`
	Host        string `query:"host" maxLength:"64" doc:"address or CIDR network on either side"`
	SrcIP       string `query:"src_ip" maxLength:"64" doc:"address or CIDR network of the initiator"`
	DstIP       string `query:"dst_ip" maxLength:"64" doc:"address or CIDR network of the responder"`
	Port        string `query:"port" maxLength:"5" doc:"destination port"`
	Protocol    string `query:"protocol" maxLength:"16" doc:"tcp, udp, icmp, icmp6, sctp or an IP protocol number"`
	App         string `query:"app" maxLength:"64" doc:"application protocol, as tls or dns; - for undetermined"`
	Probe       string `query:"probe" maxLength:"256" doc:"name of the probe"`
	SNI         string `query:"sni" maxLength:"256" doc:"server name of TLS or QUIC, exactly; *.example.org for the names beneath"`
	JA4         string `query:"ja4" maxLength:"64" doc:"JA4 of the client, exactly"`
	CommunityID string `query:"community_id" maxLength:"64" doc:"Community ID, 1:…"`
	Flow        string `query:"flow" maxLength:"4096" doc:"flows by name, probe/epoch/worker/flow_id, separated by commas"`
}

// SampleInput is the part of a question that says what may be left out.
type SampleInput struct {
	Sample string `query:"sample" maxLength:"24" doc:"auto, hours, days or hash, with /N for one in N: where the question is too large, read a part and scale the sums; the answer says so in source.sample"`
}

// question is a checked question: which flows, and when.
type question struct {
	filter *query.Filter
	span   timeRange // what from, to and last ask for, or the filter alone
	clip   query.Span
	empty  bool
}

// ask checks the parts of a question. step > 0 widens the range to whole steps;
// the flows that count are those of the range and of the filter all the same.
func (c *Console) ask(ctx context.Context, r RangeInput, f FilterInput, s SampleInput) (*question, error) {
	q := &question{}
	var err error
	if q.filter, err = c.filter(ctx, f); err != nil {
		return nil, err
	}
	if err := query.CheckSample(s.Sample); err != nil {
		return nil, badRequest("%s", err)
	}
	from, to := q.filter.Range()
	if r == (RangeInput{}) && (!from.IsZero() || !to.IsZero()) {
		r.Last = "all" // the filter says when
	}
	if q.span, err = c.db.resolve(ctx, r); err != nil {
		return nil, err
	}
	q.clip = q.filter.Clip(query.Span{From: q.span.From, To: q.span.To})
	if r.Last == "all" {
		q.span = timeRange{q.clip.From, q.clip.To}
	}
	q.empty = q.clip.Empty()
	return q, nil
}

// filter is all conditions of f together.
func (c *Console) filter(ctx context.Context, f FilterInput) (*query.Filter, error) {
	now := time.Time{}
	if f.Q != "" {
		stored, err := c.db.stored(ctx)
		if err != nil {
			return nil, err
		}
		if now = stored.To; stored.empty() {
			now = time.Now()
		}
	}
	whole, err := c.lang.Parse(f.Q, now)
	if err != nil {
		return nil, badFilter(err)
	}
	sni := "tls_sni = " + query.Quote(f.SNI)
	if rest, ok := strings.CutPrefix(f.SNI, "*."); ok {
		sni = "tls_sni like " + query.QuotePattern("%", "."+rest, "")
	}
	app := f.App
	if app == "-" {
		app = ""
	}
	for _, short := range []struct{ name, value, text string }{
		{"host", f.Host, "host in " + query.Quote(f.Host)},
		{"src_ip", f.SrcIP, "src_ip in " + query.Quote(f.SrcIP)},
		{"dst_ip", f.DstIP, "dst_ip in " + query.Quote(f.DstIP)},
		{"port", f.Port, "dst_port = " + query.Quote(f.Port)},
		{"protocol", f.Protocol, "protocol = " + query.Quote(f.Protocol)},
		{"app", f.App, "app = " + query.Quote(app)},
		{"probe", f.Probe, "probe = " + query.Quote(f.Probe)},
		{"sni", f.SNI, sni},
		{"ja4", f.JA4, "ja4 = " + query.Quote(f.JA4)},
		{"community_id", f.CommunityID, "community_id = " + query.Quote(f.CommunityID)},
	} {
		if short.value == "" {
			continue
		}
		part, err := c.lang.Parse(short.text, now)
		if err != nil {
			return nil, badShorthand(short.name, err)
		}
		whole = whole.And(part)
	}
	if f.Flow != "" {
		part, err := c.named(f.Flow)
		if err != nil {
			return nil, err
		}
		whole = whole.And(part)
	}
	return whole, nil
}

// named is the condition for flows by name, at most 100 of them.
func (c *Console) named(list string) (*query.Filter, error) {
	names := strings.Split(list, ",")
	if len(names) > 100 {
		return nil, badRequest("flow: %d names, at most 100 are taken", len(names))
	}
	var any []string
	for _, name := range names {
		at := strings.LastIndex(name, "/")
		at = strings.LastIndex(name[:max(at, 0)], "/")
		at = strings.LastIndex(name[:max(at, 0)], "/")
		var numbers []string
		if at >= 0 {
			numbers = strings.Split(name[at+1:], "/")
		}
		if len(numbers) != 3 {
			return nil, badRequest("flow: %s is not probe/epoch/worker/flow_id", layoutSafe(name))
		}
		any = append(any, "probe = "+query.Quote(name[:at])+" and epoch = "+query.Quote(numbers[0])+" and worker = "+query.Quote(numbers[1])+" and flow_id = "+query.Quote(numbers[2]))
	}
	f, err := c.lang.Parse(strings.Join(any, " or "), time.Time{})
	if err != nil {
		return nil, badRequest("flow: a name is not probe/epoch/worker/flow_id")
	}
	return f, nil
}

// badShorthand tells what is wrong with a parameter that is no filter itself.
func badShorthand(name string, err error) error {
	var e *query.Error
	if !errors.As(err, &e) {
		return err
	}
	message := e.Message
	if e.Suggest != "" {
		message += ": did you mean " + e.Suggest + "?"
	}
	return badRequest("%s: %s", name, message)
}

// badFilter tells what is wrong with q, and where.
func badFilter(err error) error {
	var e *query.Error
	if !errors.As(err, &e) {
		return err
	}
	return &huma.ErrorModel{Status: http.StatusBadRequest, Title: http.StatusText(http.StatusBadRequest), Detail: "q: " + e.Error(),
		Errors: []*huma.ErrorDetail{{Message: e.Message, Location: fmt.Sprintf("query.q:%d:%d", e.Line, e.Column),
			Value: FilterError{Offset: e.Offset, Length: e.Length, Line: e.Line, Column: e.Column, Suggest: e.Suggest}}}}
}

// FilterError is the place of what is wrong with q.
type FilterError struct {
	Offset  int    `json:"offset" doc:"octets from the start of q"`
	Length  int    `json:"length" doc:"octets that are meant, 0 at the end"`
	Line    int    `json:"line" doc:"from 1"`
	Column  int    `json:"column" doc:"from 1, in characters"`
	Suggest string `json:"suggest" doc:"what was probably meant in their place, may be empty"`
}
