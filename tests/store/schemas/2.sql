BEGIN TRANSACTION;
CREATE TABLE certified (
	study INTEGER NOT NULL, 
	reading INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	metric TEXT NOT NULL, 
	body TEXT NOT NULL, 
	PRIMARY KEY (study, reading, number, metric), 
	FOREIGN KEY(study) REFERENCES studies (id)
);
INSERT INTO "certified" VALUES(1,1,0,'accuracy','{"metric": "accuracy", "unit": "1", "better": "higher", "values": [1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0], "kind": "samples", "ratios": [], "split": "validation", "flags": [], "environment": "", "detail": {}}');
CREATE TABLE facts (
	study INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (study, "key"), 
	FOREIGN KEY(study) REFERENCES studies (id)
);
INSERT INTO "facts" VALUES(1,'noise','0.02');
CREATE TABLE figures (
	study INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	record BLOB NOT NULL, 
	PRIMARY KEY (study, number), 
	FOREIGN KEY(study) REFERENCES studies (id)
)
 WITHOUT ROWID

;
INSERT INTO "figures" VALUES(1,0,X'0000000000000000D6F8CF7ADFAA600D911DF2832BFFBE36000000000000EC3F0000000000408F4058D9DCCF0186E13F000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000080000000000000001000000030102');
INSERT INTO "figures" VALUES(1,1,X'0100000000000000FD8D08D96D1B43F95AC2C9120A1AA4E9000000000000EC3F0000000000E085405C943A1B0BBEE53F000000000000000000000000000000006D23983391B0EDBF00000000000000000000000000000000FBB66815F092D83F080000000000000005000000030102');
CREATE TABLE leases (
	study INTEGER NOT NULL, 
	token INTEGER NOT NULL, 
	owner TEXT, 
	process TEXT NOT NULL, 
	beat DOUBLE NOT NULL, 
	deadline DOUBLE NOT NULL, 
	ends DOUBLE NOT NULL, 
	PRIMARY KEY (study), 
	FOREIGN KEY(study) REFERENCES studies (id)
);
INSERT INTO "leases" VALUES(1,1,'search','{"pid": 411, "host": "elsewhere", "boot": "0 time:[0]", "namespace": "pid:[0]", "started": "1"}',1700000000.0,1700000030.0,100.0);
CREATE TABLE paretune (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "paretune" VALUES(2);
CREATE TABLE readings (
	study INTEGER NOT NULL, 
	reading INTEGER NOT NULL, 
	at TEXT NOT NULL, 
	PRIMARY KEY (study, reading), 
	FOREIGN KEY(study) REFERENCES studies (id)
);
INSERT INTO "readings" VALUES(1,1,'2026-11-24T15:14:06+00:00');
CREATE TABLE replaced (
	id INTEGER NOT NULL, 
	study INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	metric TEXT NOT NULL, 
	body TEXT NOT NULL, 
	at TEXT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(study) REFERENCES studies (id)
);
INSERT INTO "replaced" VALUES(1,1,0,'latency_p50','{"metric": "latency_p50", "unit": "s", "better": "lower", "values": [0.7948646419930532, 0.052648054363082286, 0.9251283454220318, 0.6972285321535763, 0.792155040430062, 0.8231902894303742], "kind": "launches", "ratios": [0.7948646419930532, 0.052648054363082286, 0.9251283454220318, 0.6972285321535763, 0.792155040430062, 0.8231902894303742], "split": null, "flags": ["screening"], "environment": "", "detail": {}}','2026-11-24T15:14:06+00:00');
CREATE TABLE scores (
	study INTEGER NOT NULL, 
	metric TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	samples BLOB NOT NULL, 
	PRIMARY KEY (study, metric, number), 
	FOREIGN KEY(study) REFERENCES studies (id)
)
 WITHOUT ROWID

;
INSERT INTO "scores" VALUES(1,'accuracy',0,X'DF');
INSERT INTO "scores" VALUES(1,'accuracy',1,X'7F');
CREATE TABLE studies (
	id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	spec TEXT NOT NULL, 
	created TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "studies" VALUES(1,'a','{"metrics":{"accuracy":"higher"},"objectives":[["accuracy","higher"],["size","lower"],["latency_p50","lower"]],"require":"accuracy>=baseline-2pt","strategy":"sweep","target":{"batch":1,"device":"cpu","runtime":"null","scenario":"single_stream","threads":1},"task":"none"}','2026-11-24T15:14:06+00:00');
CREATE TABLE trials (
	study INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	token INTEGER NOT NULL, 
	attempt INTEGER NOT NULL, 
	faults INTEGER NOT NULL, 
	state TEXT NOT NULL, 
	steps TEXT NOT NULL, 
	revision INTEGER NOT NULL, 
	body TEXT, 
	PRIMARY KEY (study, number), 
	FOREIGN KEY(study) REFERENCES studies (id)
);
INSERT INTO "trials" VALUES(1,0,1,1,0,'ok','[{"technique": "structured_pruning", "ratio": 0.5}]',1,'{"number": 0, "steps": [{"technique": "structured_pruning", "ratio": 0.2890259881096826}], "state": "ok", "measurements": {"accuracy": {"metric": "accuracy", "unit": "1", "better": "higher", "values": [1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0], "kind": "samples", "ratios": [], "split": "validation", "flags": [], "environment": "", "detail": {}}, "latency_p50": {"metric": "latency_p50", "unit": "s", "better": "lower", "values": [0.5359452706808429, 0.1079755547906579, 0.9750814645021766, 0.26887828760515764, 0.5592713010923412, 0.9838749699991488], "kind": "launches", "ratios": [0.5359452706808429, 0.1079755547906579, 0.9750814645021766, 0.26887828760515764, 0.5592713010923412, 0.9838749699991488], "split": null, "flags": ["screening"], "environment": "", "detail": {}}, "size": {"metric": "size", "unit": "byte", "better": "lower", "values": [1000.0], "kind": "exact", "ratios": [], "split": null, "flags": [], "environment": "", "detail": {}}}, "parity": {"max_abs": 1e-06, "agreement": 1.0}, "artifact": "0000000000000000000000000000000000000000000000000000000000000000", "format": "onnx", "error": "", "cost": {"train_s": 1.5}, "trace": [{"step": "structured_pruning", "seconds": 0.25}]}');
INSERT INTO "trials" VALUES(1,1,1,1,0,'ok','[{"technique": "structured_pruning", "ratio": 0.5}]',0,'{"number": 1, "steps": [{"technique": "structured_pruning", "ratio": 0.6356887850840736}], "state": "ok", "measurements": {"accuracy": {"metric": "accuracy", "unit": "1", "better": "higher", "values": [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], "kind": "samples", "ratios": [], "split": "validation", "flags": [], "environment": "", "detail": {}}, "latency_p50": {"metric": "latency_p50", "unit": "s", "better": "lower", "values": [0.5560659183164072, 0.8363940248817655, 0.01831236754286436, 0.9746142925646524, 0.7131169372551406, 0.6457803733476222], "kind": "launches", "ratios": [0.5560659183164072, 0.8363940248817655, 0.01831236754286436, 0.9746142925646524, 0.7131169372551406, 0.6457803733476222], "split": null, "flags": ["screening"], "environment": "", "detail": {}}, "size": {"metric": "size", "unit": "byte", "better": "lower", "values": [700.0], "kind": "exact", "ratios": [], "split": null, "flags": [], "environment": "", "detail": {}}}, "parity": {"max_abs": 1e-06, "agreement": 1.0}, "artifact": "0000000000000000000000000000000000000000000000000000000000000001", "format": "onnx", "error": "", "cost": {"train_s": 1.5}, "trace": [{"step": "structured_pruning", "seconds": 0.25}]}');
INSERT INTO "trials" VALUES(1,2,1,1,0,'RUNNING','[{"technique": "structured_pruning", "ratio": 0.5}]',0,NULL);
CREATE INDEX trials_by_state ON trials (study, state, number, revision);
COMMIT;
