package console

import (
	"context"
	"net/netip"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/danielgtaylor/huma/v2"

	"github.com/tapwatch/tapwatch/proto/kit/clickhouse"
)

// maxHost bounds each list of a host.
const maxHost = 500

// HostEvent is something that became of a host.
type HostEvent struct {
	Time   string `json:"time"`
	Kind   string `json:"kind" doc:"first seen, new service, new login, new application, new peer, name, called by name, user, alert or indicator"`
	What   string `json:"what"`
	Detail string `json:"detail"`
	Until  string `json:"until" doc:"last seen"`
}

// Contact is another host that it talked to.
type Contact struct {
	Peer          string   `json:"peer"`
	Direction     string   `json:"direction" doc:"asked: it asked the peer; was asked by: the peer asked it"`
	First         string   `json:"first" doc:"hour"`
	Last          string   `json:"last" doc:"hour"`
	Days          uint64   `json:"days" doc:"with contact"`
	Flows         uint64   `json:"flows" doc:"connections"`
	Failed        uint64   `json:"failed" doc:"of them, without payload of the responder"`
	SentBytes     uint64   `json:"sent_bytes" doc:"IP octets of the host"`
	ReceivedBytes uint64   `json:"received_bytes" doc:"IP octets of the peer"`
	Services      []string `json:"services" doc:"protocol/port, at most 16"`
	Apps          []string `json:"apps"`
}

// FirstTime is when something was seen first and last.
type FirstTime struct {
	Kind   string   `json:"kind"`
	Value  string   `json:"value"`
	First  string   `json:"first"`
	Last   string   `json:"last"`
	Sites  []string `json:"sites"`
	Probes []string `json:"probes"`
}

// HostPage is what is known of a host.
type HostPage struct {
	Range        Range        `json:"range"`
	Completeness Completeness `json:"completeness"`
	Host         string       `json:"host"`
	Timeline     []HostEvent  `json:"timeline" doc:"what touches the range, earliest first, at most 500"`
	Contacts     []Contact    `json:"contacts" doc:"who talked to it, most connections first, at most 500, from rollups by the hour"`
	Firsts       []FirstTime  `json:"firsts" doc:"what it did, and when first and last, of all time"`
	Hits         []Hit        `json:"hits" doc:"what sweeps found"`
	More         bool         `json:"more" doc:"a list is cut"`
}

type hostInput struct {
	RangeInput
	IP string `path:"ip" maxLength:"64" doc:"address"`
}

func (c *Console) host(ctx context.Context, in *hostInput) (*answer[HostPage], error) {
	ip, err := netip.ParseAddr(in.IP)
	if err != nil || ip.Zone() != "" {
		return nil, badRequest("ip: %s is no address", layoutSafe(in.IP))
	}
	ip = ip.Unmap()
	r, err := c.db.resolve(ctx, in.RangeInput)
	if err != nil {
		return nil, err
	}
	out := HostPage{Range: r.tell(), Host: ip.String(), Timeline: []HostEvent{}, Contacts: []Contact{}, Firsts: []FirstTime{}, Hits: []Hit{}}
	if out.Completeness, err = c.db.completeness(ctx, r, ""); err != nil || r.empty() {
		return &answer[HostPage]{out}, err
	}
	p := params{"ip": ip.String(), "from": r.From.Format("2006-01-02 15:04:05"), "to": r.To.Format("2006-01-02 15:04:05"), "limit": "501"}
	err = c.db.each(ctx, `SELECT time, kind, what, detail, until FROM host_timeline(ip = {ip:String}, from = {from:String}, to = {to:String}) LIMIT {limit:UInt32}`, p, func(rows driver.Rows) error {
		var e HostEvent
		var at, until time.Time
		err := rows.Scan(&at, &e.Kind, &e.What, &e.Detail, &until)
		e.Time, e.Until = rfc3339(at), rfc3339(until)
		out.Timeline = append(out.Timeline, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = c.db.each(ctx, `SELECT replaceRegexpOne(toString(peer), '^::ffff:', ''), direction, first_hour, last_hour, days, flows, failed, sent_bytes, received_bytes, services, apps
		FROM contacts(ip = {ip:String}, from = {from:String}, to = {to:String}) LIMIT {limit:UInt32}`, p, func(rows driver.Rows) error {
		var x Contact
		var first, last time.Time
		err := rows.Scan(&x.Peer, &x.Direction, &first, &last, &x.Days, &x.Flows, &x.Failed, &x.SentBytes, &x.ReceivedBytes, &x.Services, &x.Apps)
		x.First, x.Last = rfc3339(first), rfc3339(last)
		out.Contacts = append(out.Contacts, x)
		return err
	})
	if err != nil {
		return nil, err
	}
	if out.Firsts, err = c.firstTimes(ctx, ip.String()); err != nil {
		return nil, err
	}
	hits, err := c.stores.sweeps.Hits(ctx, "", ip.String(), maxHost+1)
	if err != nil {
		return nil, err
	}
	out.Hits = tellHits(hits)
	out.More = len(out.Timeline) > maxHost || len(out.Contacts) > maxHost || len(out.Firsts) > maxHost || len(out.Hits) > maxHost
	out.Timeline, out.Contacts = out.Timeline[:min(maxHost, len(out.Timeline))], out.Contacts[:min(maxHost, len(out.Contacts))]
	out.Firsts, out.Hits = out.Firsts[:min(maxHost, len(out.Firsts))], out.Hits[:min(maxHost, len(out.Hits))]
	return &answer[HostPage]{out}, nil
}

func (c *Console) firstTimes(ctx context.Context, what string) ([]FirstTime, error) {
	list := []FirstTime{}
	err := c.db.each(ctx, `SELECT toString(kind), value, first, last, arrayMap(s -> toString(s), sites), arrayMap(p -> toString(p), probes) FROM first_times(what = {what:String}) LIMIT {limit:UInt32}`,
		params{"what": clickhouse.Text(what), "limit": "501"}, func(rows driver.Rows) error {
			var x FirstTime
			var first, last time.Time
			err := rows.Scan(&x.Kind, &x.Value, &first, &last, &x.Sites, &x.Probes)
			x.First, x.Last = rfc3339(first), rfc3339(last)
			list = append(list, x)
			return err
		})
	return list, err
}

type firstInput struct {
	What string `query:"what" required:"true" minLength:"1" maxLength:"1024" doc:"address, server name, JA3, JA4, HASSH, SHA-256 of a certificate, user agent or user"`
}

// FirstTimes is when something was seen first and last.
type FirstTimes struct {
	What  string      `json:"what"`
	Times []FirstTime `json:"times" doc:"earliest first, at most 500"`
	Range Range       `json:"range" doc:"of all traffic that was seen"`
}

func (c *Console) first(ctx context.Context, in *firstInput) (*answer[FirstTimes], error) {
	list, err := c.firstTimes(ctx, in.What)
	if err != nil {
		return nil, err
	}
	stored, err := c.db.stored(ctx)
	return &answer[FirstTimes]{FirstTimes{in.What, list[:min(maxHost, len(list))], stored.tell()}}, err
}

func (c *Console) hostRoutes(api huma.API) {
	register(c, api, "get-host", "/api/v1/hosts/{ip}", "One host", "Its timeline, who else talked to it, what it did first when, and what sweeps of history found.", c.host)
	register(c, api, "first-times", "/api/v1/first", "The first time", "When an address, name, fingerprint, certificate or user was seen first and last, by what is kept of first sights.", c.first)
}
