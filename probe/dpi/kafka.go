package dpi

import (
	"bytes"
	"encoding/binary"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// Kafka's protocol: requests with an API key, a version and the client's id
// (Kafka protocol guide, "Request Header").
func kafkaProtocol() protocol {
	return protocol{app: "kafka", tcp: []uint16{9092, 9093, 9094}, stream: looksKafka, parse: (*Inspector).kafkaStream}
}

// kafkaAPIs are API keys.
var kafkaAPIs = [...]string{"Produce", "Fetch", "ListOffsets", "Metadata", "LeaderAndIsr", "StopReplica", "UpdateMetadata", "ControlledShutdown", "OffsetCommit",
	"OffsetFetch", "FindCoordinator", "JoinGroup", "Heartbeat", "LeaveGroup", "SyncGroup", "DescribeGroups", "ListGroups", "SaslHandshake", "ApiVersions",
	"CreateTopics", "DeleteTopics", "DeleteRecords", "InitProducerId", "OffsetForLeaderEpoch", "AddPartitionsToTxn", "AddOffsetsToTxn", "EndTxn",
	"WriteTxnMarkers", "TxnOffsetCommit", "DescribeAcls", "CreateAcls", "DeleteAcls", "DescribeConfigs", "AlterConfigs", "AlterReplicaLogDirs",
	"DescribeLogDirs", "SaslAuthenticate", "CreatePartitions", "CreateDelegationToken", "RenewDelegationToken", "ExpireDelegationToken",
	"DescribeDelegationToken", "DeleteGroups", "ElectLeaders", "IncrementalAlterConfigs", "AlterPartitionReassignments", "ListPartitionReassignments",
	"OffsetDelete", "DescribeClientQuotas", "AlterClientQuotas", "DescribeUserScramCredentials", "AlterUserScramCredentials", "Vote", "BeginQuorumEpoch",
	"EndQuorumEpoch", "DescribeQuorum", "AlterPartition", "UpdateFeatures", "Envelope", "FetchSnapshot", "DescribeCluster", "DescribeProducers",
	"BrokerRegistration", "BrokerHeartbeat", "UnregisterBroker", "DescribeTransactions", "ListTransactions", "AllocateProducerIds", "ConsumerGroupHeartbeat"}

const maxKafka = 100 << 20 // octets of a request (socket.request.max.bytes)

// looksKafka wants a request: size, a known key and version, a client id of
// plain text. Elsewhere than on its ports also that the segment ends with it.
func looksKafka(b []byte, h *hint) verdict {
	switch {
	case len(b) >= 1 && b[0] > 6, len(b) >= 5 && b[4] != 0, len(b) >= 6 && int(b[5]) >= len(kafkaAPIs), len(b) >= 7 && b[6] != 0, len(b) >= 8 && b[7] > 20:
		return no
	case len(b) < 14:
		return undecided
	}
	size, id := int(binary.BigEndian.Uint32(b)), int(int16(binary.BigEndian.Uint16(b[12:])))
	if size < 10 || size > maxKafka || id < -1 || id > 255 || 10+max(id, 0) > size {
		return no
	}
	if id > 0 {
		if len(b) < 14+id {
			if plain(b[14:]) {
				return undecided
			}
			return no
		}
		if !plain(b[14 : 14+id]) {
			return no
		}
	}
	if h.onPort || len(b) == 4+size && id > 0 {
		return yes
	}
	return no
}

func (in *Inspector) kafkaStream(st *State, d side, b []byte, rec *flow.Record, _ int64) int {
	if len(b) < 4 {
		return 0
	}
	size := 4 + int(binary.BigEndian.Uint32(b))
	if size < 8 || size > maxKafka {
		in.malformed(rec)
		return in.endSide(st, d, b)
	}
	if d == sideSrc {
		if len(b) < min(size, 320) {
			return 0
		}
		if in.crowded(st, 1, rec) {
			return 0
		}
		in.kafkaRequest(st, d, b[4:min(size, len(b))], rec)
	}
	return st.stepOver(d, size, b)
}

func (in *Inspector) kafkaRequest(st *State, d side, m []byte, rec *flow.Record) {
	r := reader{b: m}
	key, version := r.u16(), r.u16()
	r.take(4) // correlation id
	id := r.take(max(int(int16(r.u16())), 0))
	if r.bad || key >= len(kafkaAPIs) {
		if key == 0 || st.flags == 0 {
			in.malformed(rec)
		}
		return
	}
	in.software(d, id, rec)
	if st.count[0]++; st.count[0] > 64 && key <= 1 { // data flows: enough is known
		return
	}
	name := kafkaAPIs[key]
	if key == 36 && bytes.IndexByte(m, 0) >= 0 { // SaslAuthenticate: size (compact from version 2), message
		if version < 2 {
			in.saslPlain(r.take(int(min(beUint32(r.take(4)), 1<<12))), rec)
		} else if len(r.b) > 2 {
			in.saslPlain(r.b[2:], rec)
		}
	}
	in.addRequest(st, appendInt(append(in.verb(name, nil), " v"...), uint16(version)), rec)
}
