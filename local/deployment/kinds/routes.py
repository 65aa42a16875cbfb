"""Route tables, their routes and whose they are, made in moto."""

from typing import Any

from local.aws.moto import Moto
from local.deployment.kinds.maker import changes, makes, reads, removes
from local.deployment.kinds.network import ec2_arn, ec2_retag, ec2_tags
from local.deployment.kinds.spelling import Inputs, Outputs, api, properties, tag_map, without
from recording import kinds


def _table(moto: Moto, id_: str) -> dict[str, Any]:
    return moto.client("ec2").describe_route_tables(RouteTableIds=[id_])["RouteTables"][0]


@makes(kinds.ec2.ROUTE_TABLE)
def _route_table(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    made = moto.client("ec2").create_route_table(
        **api(without(inputs, "tags")), TagSpecifications=ec2_tags("route-table", inputs)
    )["RouteTable"]
    return {"id": made["RouteTableId"], "arn": ec2_arn(moto, "route-table", made["RouteTableId"])}


@changes(kinds.ec2.ROUTE_TABLE, "tags")
def _change_route_table(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    ec2_retag(moto, id_, old, new)
    return {}


@reads(kinds.ec2.ROUTE_TABLE)
def _read_route_table(moto: Moto, id_: str, outputs: Outputs) -> Outputs:
    table = _table(moto, id_)
    return {"vpcId": table["VpcId"], "tags": tag_map(table.get("Tags", ()))}


@removes(kinds.ec2.ROUTE_TABLE)
def _remove_route_table(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("ec2").delete_route_table(RouteTableId=id_)


# --- routes

_DESTINATIONS = ("destinationCidrBlock", "destinationIpv6CidrBlock")
_TARGETS = ("gatewayId", "egressOnlyGatewayId")


def _api_route(inputs: Inputs) -> dict[str, Any]:
    route = api(without(inputs, "egressOnlyGatewayId"))
    if "egressOnlyGatewayId" in inputs:
        route["EgressOnlyInternetGatewayId"] = inputs["egressOnlyGatewayId"]
    return route


def _destination(inputs: Inputs) -> dict[str, str]:
    """The property that says where a route leads; a table has one route to each destination."""
    return {each: inputs[each] for each in _DESTINATIONS if inputs.get(each)}


@makes(kinds.ec2.ROUTE)
def _route(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    moto.client("ec2").create_route(**_api_route(inputs))
    (destination,) = _destination(inputs).values()
    return {"id": f"r-{inputs['routeTableId']}-{destination}"}


@changes(kinds.ec2.ROUTE, *_TARGETS)
def _change_route(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    moto.client("ec2").replace_route(**_api_route(new))
    return {}


@reads(kinds.ec2.ROUTE)
def _read_route(moto: Moto, id_: str, outputs: Outputs) -> Outputs | None:
    wanted = api(_destination(outputs)).items()
    routes = [
        each for each in _table(moto, outputs["routeTableId"])["Routes"] if wanted <= each.items()
    ]
    if not routes:
        return None
    (route,) = routes
    return {
        "routeTableId": outputs["routeTableId"],
        **properties(route),
        "egressOnlyGatewayId": route.get("EgressOnlyInternetGatewayId"),
    }


@removes(kinds.ec2.ROUTE)
def _remove_route(moto: Moto, id_: str, outputs: Outputs) -> None:
    moto.client("ec2").delete_route(
        RouteTableId=outputs["routeTableId"], **api(_destination(outputs))
    )


# --- associations: a subnet has one, whose id changes with its table


def _association(moto: Moto, outputs: Outputs) -> dict[str, Any] | None:
    own = [{"Name": "association.subnet-id", "Values": [outputs["subnetId"]]}]
    tables = moto.client("ec2").describe_route_tables(Filters=own)["RouteTables"]
    found = [each for table in tables for each in table["Associations"]]
    return next((each for each in found if each.get("SubnetId") == outputs["subnetId"]), None)


@makes(kinds.ec2.ROUTE_TABLE_ASSOCIATION)
def _route_table_association(moto: Moto, name: str, inputs: Inputs) -> Outputs:
    return {"id": moto.client("ec2").associate_route_table(**api(inputs))["AssociationId"]}


@changes(kinds.ec2.ROUTE_TABLE_ASSOCIATION, "routeTableId")
def _change_route_table_association(moto: Moto, id_: str, old: Outputs, new: Inputs) -> Outputs:
    found = _association(moto, old)
    moto.client("ec2").replace_route_table_association(
        AssociationId=found["RouteTableAssociationId"] if found else id_,
        RouteTableId=new["routeTableId"],
    )
    return {}


@reads(kinds.ec2.ROUTE_TABLE_ASSOCIATION)
def _read_route_table_association(moto: Moto, id_: str, outputs: Outputs) -> Outputs | None:
    found = _association(moto, outputs)
    return found and properties(found)


@removes(kinds.ec2.ROUTE_TABLE_ASSOCIATION)
def _remove_route_table_association(moto: Moto, id_: str, outputs: Outputs) -> None:
    if found := _association(moto, outputs):
        moto.client("ec2").disassociate_route_table(AssociationId=found["RouteTableAssociationId"])
