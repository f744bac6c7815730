"""A consent as a receipt: the fields of ISO/IEC TS 27560 in DPV terms, and those that law 94-V (KZ) asks for.

The receipt says what held for one pseudonym at one instant, by which act and under which version; from an
erasure on, that nothing did. Who reads it needs nothing else: the policy's text, as it was told then, is part
of it.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from collector import policy_text
from collector.policy import Controller, Policy, Purpose, Version, fields_within
from collector.policy_text import ACQUIRER, Section
from collector.record import LEVELS, date_of, instant_of
from collector.words import Words, languages
from pipeline.errors import ProofError
from pipeline.kept_policy import Kept, as_kept, as_told
from pipeline.proofs import ERASE, Proof

SCHEMA = "https://w3id.org/dpv/schema/dpv-27560#receipt-record"
"""The profile of ISO/IEC TS 27560:2023 that a receipt follows."""

UNKNOWN = "not stated in the policy"
NO_NAME = "unknown: the visitor is known by a cookie alone and has no name here"

_CONTEXT = {
    "dpv": "https://w3id.org/dpv#",
    "dct": "http://purl.org/dc/terms/",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "kz": "urn:kz:law:94-V:8#",
}
_STATUS = {
    "grant": "dpv:ConsentGiven",
    "refuse": "dpv:ConsentRefused",
    "withdraw": "dpv:ConsentWithdrawn",
    "erase": "dpv:ConsentWithdrawn",
}
_LAPSED = "dpv:ConsentExpired"
_BASIS = {
    "consent": "dpv:Consent",
    "contract": "dpv:Contract",
    "legitimate_interests": "dpv:LegitimateInterest",
    "law": "dpv:LegalObligation",
}
_PURPOSE = {
    "necessary": "dpv:FulfilmentOfContractualObligation",
    "services": "dpv:RequestedServiceProvision",
    "improvement": "dpv:ServiceOptimisation",
    "advertising": "dpv:TargetedAdvertising",
    "notifications": "dpv:CommunicationManagement",
    "statistics": "dpv:ServiceUsageAnalytics",
}


def receipt(
    policy: Policy,
    known: Mapping[str, Kept],
    found: list[Proof],
    subject: str,
    at_ms: int,
    words: Words,
) -> dict[str, Any]:
    """What held for a subject at an instant, as JSON-LD.

    policy   as it is now; where a version was kept, what it said then is what the receipt says
    found    the subject's proofs, oldest first
    Raises   ProofError where no choice is proven until then
    """
    until = [proof for proof in found if proof.at_ms <= at_ms]
    if not until:
        raise ProofError(
            f"no choice of this reference is known at {instant_of(at_ms)}: name a later --at, or run "
            "`impersonal run` if it was made just now; proofs are kept for "
            f"{policy.controller.proof_days} days"
        )
    latest = until[-1]
    version = as_kept(policy, known).version(latest.policy)
    if version is None:
        raise ProofError(f"the policy has no version {latest.policy} any more: put it back into policy.toml")
    purposes = [version.purposes[name] for name in latest.purposes if name in version.purposes]
    told = as_told(policy, known, version)
    controller = told.controller
    third_parties = sorted({name for purpose in purposes for name in purpose.recipients if name != ACQUIRER})
    return {
        "@context": _CONTEXT,
        "@type": "dpv:ConsentRecord",
        "dct:conformsTo": SCHEMA,
        "dct:identifier": f"{latest.id}@{instant_of(at_ms)}",
        "dct:source": latest.id,
        "dct:created": instant_of(at_ms),
        "dct:language": list(languages()),
        "dpv:hasDataSubject": {"@type": "dpv:DataSubject", "dct:identifier": subject, "dpv:hasName": NO_NAME},
        "dpv:hasDataController": _controller(controller),
        "dpv:hasJurisdiction": controller.country or UNKNOWN,
        "dpv:hasNotice": _notice(told, version, words),
        "dpv:hasConsentStatus": _status(latest, at_ms),
        "dct:hasPart": [_event(proof) for proof in until],
        "dpv:hasPurpose": [_purpose(purpose, told, version, words) for purpose in purposes] or ["none"],
        "dpv:hasRecipientThirdParty": third_parties or ["none"],
        "dpv:hasWithdrawalMethod": _withdrawal(policy.controller),
        "kz:consent": _of_kazakhstan(controller, latest, version, purposes, third_parties),
    }


def _controller(controller: Controller) -> dict[str, str]:
    return {
        "@type": "dpv:DataController",
        "dpv:hasName": controller.name,
        "dpv:hasContact": controller.contact,
        "dpv:hasIdentifier": controller.identifier or UNKNOWN,
        "dpv:hasAddress": controller.address or UNKNOWN,
    }


def _notice(policy: Policy, version: Version, words: Words) -> dict[str, Any]:
    told = policy_text.sections(policy, version, words)
    return {
        "@type": "dpv:PrivacyNotice",
        "dct:hasVersion": version.id,
        "dct:modified": version.modified.isoformat(),
        "dct:valid": version.effective.isoformat(),
        "dct:publisher": ", ".join(policy.controller.hosts) or UNKNOWN,
        "dct:language": words.language,
        "dct:description": [{"dct:title": each.title, "dct:description": each.paragraphs} for each in told],
        "dct:identifier": f"sha256:{_digest(told)}",
    }


def _digest(told: list[Section]) -> str:
    text = "\n".join(line for section in told for line in (section.title, *section.paragraphs))
    return hashlib.sha256(text.encode()).hexdigest()


def _status(latest: Proof, at_ms: int) -> str:
    has_lapsed = latest.act != ERASE and at_ms >= latest.lapses_ms
    return _LAPSED if has_lapsed else _STATUS[latest.act]


def _event(proof: Proof) -> dict[str, Any]:
    return {
        "@type": _STATUS[proof.act],
        "dct:identifier": proof.id,
        "dct:date": instant_of(proof.at_ms),
        "dpv:hasIndicationMethod": proof.via,
        "dpv:isIndicatedBy": "dpv:DataSubject",
        "dct:hasVersion": proof.policy,
        "dpv:hasPurpose": list(proof.purposes) or ["none"],
        "dpv:hasContext": proof.service or "the site as a whole",
        "dct:valid": instant_of(proof.lapses_ms),
    }


def _purpose(purpose: Purpose, policy: Policy, version: Version, words: Words) -> dict[str, Any]:
    levels = purpose.levels
    data = [
        {
            "@type": "dpv:PersonalData",
            "dct:title": category,
            "dct:description": LEVELS[category][level],
            "dct:hasPart": [row.name for row in fields_within(levels) if row.category == category],
        }
        for category, level in levels.items()
        if level
    ]
    declared = [
        {
            "@type": "dpv:PersonalData",
            "dct:title": attribute.name,
            "dct:description": attribute.said_in(words.language),
            "dpv:hasNecessity": "dpv:Required" if attribute.mandatory else "dpv:Optional",
        }
        for attribute in version.declared.values()
        if attribute.purpose == purpose.name
    ]
    return {
        "@type": _PURPOSE[purpose.name],
        "dct:title": purpose.name,
        "dct:description": purpose.said_in(words.language),
        "dpv:hasLegalBasis": _BASIS[purpose.basis],
        "dpv:hasConsentControl": "dpv:WithdrawConsent" if purpose.refusable else "none",
        "dpv:hasPersonalData": [*data, *declared] or ["none"],
        "dpv:hasStorageCondition": {
            "dpv:hasDuration": f"P{purpose.retention_days}D",
            "dpv:hasLocation": policy.controller.storage or UNKNOWN,
        },
        "dpv:hasRecipient": list(purpose.recipients) or ["none"],
    }


def _withdrawal(controller: Controller) -> str:
    site = controller.hosts[0] if controller.hosts else "the site"
    return f"at any time on the privacy page of {site}, with the browser the consent was given in"


def _of_kazakhstan(
    controller: Controller, latest: Proof, version: Version, purposes: list[Purpose], third_parties: list[str]
) -> dict[str, Any]:
    """Article 8 of the law on personal data: yes or no wherever it asks for yes or no."""
    names = [row.name for row in fields_within(version.scope(purpose.name for purpose in purposes))]
    granted = {purpose.name for purpose in purposes}
    declared = [attribute.name for attribute in version.declared.values() if attribute.purpose in granted]
    period = f"{date_of(latest.at_ms)} to {date_of(latest.lapses_ms)}"
    return {
        "kz:operator": controller.name,
        "kz:bin": controller.identifier or UNKNOWN,
        "kz:subject": NO_NAME,
        "kz:period": f"ended by erasure on {date_of(latest.at_ms)}" if latest.act == ERASE else period,
        "kz:transfer_to_third_parties": _yes(bool(third_parties)),
        "kz:cross_border_transfer": _yes(controller.cross_border),
        "kz:publication": _yes(False),
        "kz:data": [*names, *declared] or ["none"],
    }


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"
